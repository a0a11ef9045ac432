/* SHA-1 (RFC 3174), for DST.ADDR and for the handshake of components. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"

static uint32_t rotate(uint32_t x, int n) { return x << n | x >> (32 - n); }

static void block(uint32_t h[5], const unsigned char *p) {
    uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)p[4 * i] << 24 | p[4 * i + 1] << 16 | p[4 * i + 2] << 8 | p[4 * i + 3];
    for (int i = 16; i < 80; i++)
        w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    for (int i = 0; i < 80; i++) {
        uint32_t f, k;
        if (i < 20)
            f = (b & c) | (~b & d), k = 0x5A827999;
        else if (i < 40)
            f = b ^ c ^ d, k = 0x6ED9EBA1;
        else if (i < 60)
            f = (b & c) | (b & d) | (c & d), k = 0x8F1BBCDC;
        else
            f = b ^ c ^ d, k = 0xCA62C1D6;
        uint32_t t = rotate(a, 5) + f + e + k + w[i];
        e = d, d = c, c = rotate(b, 30), b = a, a = t;
    }
    h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e;
}

void sha1_hex(const void *data, unsigned long length, char hex[41]) {
    uint32_t h[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
    unsigned long padded = ((length + 8) / 64 + 1) * 64;
    unsigned char *text = calloc(1, padded);
    if (!text)
        die("memory");
    memcpy(text, data, length);
    text[length] = 0x80;
    for (int i = 0; i < 8; i++)
        text[padded - 1 - i] = (uint64_t)length * 8 >> (8 * i);
    for (unsigned long at = 0; at < padded; at += 64)
        block(h, text + at);
    free(text);
    for (int i = 0; i < 5; i++)
        sprintf(hex + 8 * i, "%08x", h[i]);
}
