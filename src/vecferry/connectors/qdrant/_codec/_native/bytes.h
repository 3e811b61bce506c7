/* What both loops need: a buffer that grows, variable-length integers, and UTF-8 that is checked. */
#ifndef VECFERRY_BYTES_H
#define VECFERRY_BYTES_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* How a step ended. ODD: it is something that the Python code beside this one shall do, or judge. */
typedef enum { OK = 0, ODD = 1, FAILED = 2 } Ended;

#define TRY(step) do { Ended ended_ = (step); if (ended_ != OK) return ended_; } while (0)

typedef struct {
    const unsigned char *at, *end;
} Span;

static inline Py_ssize_t left(const Span *span) { return span->end - span->at; }

typedef struct {
    unsigned char *data;
    Py_ssize_t size, room;
} Out;

static inline Ended out_room(Out *out, Py_ssize_t more) {
    if (out->room - out->size >= more) return OK;
    Py_ssize_t room = out->room * 2 > out->size + more ? out->room * 2 : out->size + more + 64;
    unsigned char *data = PyMem_Realloc(out->data, room);
    if (data == NULL) {
        PyErr_NoMemory();
        return FAILED;
    }
    out->data = data;
    out->room = room;
    return OK;
}

static inline Ended out_put(Out *out, const void *bytes, Py_ssize_t count) {
    TRY(out_room(out, count));
    if (count > 0) memcpy(out->data + out->size, bytes, count);
    out->size += count;
    return OK;
}

static inline Ended out_byte(Out *out, unsigned char byte) {
    TRY(out_room(out, 1));
    out->data[out->size++] = byte;
    return OK;
}

static inline PyObject *out_bytes(const Out *out) {
    return PyBytes_FromStringAndSize((const char *)out->data, out->size);
}

static inline void out_free(Out *out) {
    PyMem_Free(out->data);
    out->data = NULL;
    out->size = out->room = 0;
}

static inline bool same(Span one, Span other) {
    return one.at && other.at && left(&one) == left(&other) && memcmp(one.at, other.at, left(&one)) == 0;
}

/* ------------------------------------------------------------------ varints, as protobuf has them */

static inline int varint_write(unsigned char *at, uint64_t number) {
    int width = 0;
    while (number > 127) {
        at[width++] = (unsigned char)(number | 128);
        number >>= 7;
    }
    at[width++] = (unsigned char)number;
    return width;
}

static inline Ended out_varint(Out *out, uint64_t number) {
    TRY(out_room(out, 10));
    out->size += varint_write(out->data + out->size, number);
    return OK;
}

static inline Ended varint_read(Span *in, uint64_t *number) {
    uint64_t found = 0;
    for (int shift = 0; shift < 64 && in->at < in->end; shift += 7) {
        unsigned char byte = *in->at++;
        if (shift == 63 && byte > 1) return ODD;  /* past 64 bits */
        found |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) {
            *number = found;
            return OK;
        }
    }
    return ODD;
}

/* The length-delimited body that stands next. */
static inline Ended body_read(Span *in, Span *body) {
    uint64_t size;
    TRY(varint_read(in, &size));
    if (size > (uint64_t)left(in)) return ODD;
    body->at = in->at;
    body->end = in->at += size;
    return OK;
}

/* ------------------------------------------------------------------ UTF-8, as RFC 3629 has it */

static inline int utf8_width(const unsigned char *at, Py_ssize_t room) {
    static const unsigned char least[] = {0x80, 0xA0, 0x80, 0x90, 0x80}, most[] = {0xBF, 0xBF, 0x9F, 0xBF, 0x8F};
    unsigned char head = at[0];
    int width = head < 0x80 ? 1 : head < 0xC2 ? 0 : head < 0xE0 ? 2 : head < 0xF0 ? 3 : head < 0xF5 ? 4 : 0;
    if (width < 2 || width > room) return width == 1 ? 1 : 0;
    int kind = head == 0xE0 ? 1 : head == 0xED ? 2 : head == 0xF0 ? 3 : head == 0xF4 ? 4 : 0;
    if (at[1] < least[kind] || at[1] > most[kind]) return 0;
    for (int byte = 2; byte < width; byte++)
        if ((at[byte] & 0xC0) != 0x80) return 0;
    return width;
}

static inline bool utf8_valid(Span text) {
    while (text.at < text.end) {
        uint64_t eight;
        while (left(&text) >= 8 && (memcpy(&eight, text.at, 8), (eight & 0x8080808080808080u) == 0)) text.at += 8;
        if (text.at == text.end) break;
        int width = utf8_width(text.at, left(&text));
        if (width == 0) return false;
        text.at += width;
    }
    return true;
}

#endif
