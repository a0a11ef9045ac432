`xmppbytes send` and `xmppbytes receive`: files by stream initiation (XEP-0095, XEP-0096), directly, through proxies or in-band (XEP-0047), verified, and continued when they break.
