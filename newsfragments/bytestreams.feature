`BytestreamsClientHandler` and `BytestreamEndpoint`: SOCKS5 bytestreams (XEP-0065) for any Twisted program, direct and through proxies, as Requester and Target.
