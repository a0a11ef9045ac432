UDP mode (XEP-0065 section 8) in the proxy and in the client: `DatagramsClientHandler.requestDatagrams`, `IDatagramAcceptor`, `--no-udp`.
