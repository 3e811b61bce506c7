/* Canonical JSON objects as the map entries of Qdrant's protobuf `Value`s, without a Python object between.
 *
 * `vecferry.connectors.qdrant._codec.values.entries` is the same in Python, and does whatever is ODD here: integers of
 * more than 18 digits, escapes past ASCII, nesting that gRPC cannot carry, texts that are no canonical JSON.
 */
#include "bytes.h"
#include "native.h"

#include <math.h>

enum { STRUCT_ENTRY = 1, MAX_DEPTH = 24, DIGITS = 18, LONGEST_NUMBER = 40 };

static Ended value(Span *in, Out *out, int depth);

/* The tag of a length-delimited field, with room for one byte of length; what follows is its body. */
static Ended field_open(Out *out, unsigned char tag, Py_ssize_t *start) {
    TRY(out_byte(out, tag));
    TRY(out_byte(out, 0));
    *start = out->size;
    return OK;
}

static Ended field_close(Out *out, Py_ssize_t start) {
    Py_ssize_t size = out->size - start;
    if (size > 127) {
        unsigned char width[10];
        int more = varint_write(width, (uint64_t)size) - 1;
        TRY(out_room(out, more));
        memmove(out->data + start + more, out->data + start, size);
        memcpy(out->data + start - 1, width, more + 1);
        out->size += more;
    } else {
        out->data[start - 1] = (unsigned char)size;
    }
    return OK;
}

static Ended escaped(Span *in, Out *out) {
    static const char names[] = "\"\\/bfnrt", bytes[] = "\"\\/\b\f\n\r\t";
    if (left(in) < 1) return ODD;
    unsigned char name = *in->at++;
    if (name == 'u') {
        unsigned code = 0;
        if (left(in) < 4) return ODD;
        for (int digit = 0; digit < 4; digit++) {
            unsigned char c = *in->at++;
            int half = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
            if (half < 0) return ODD;
            code = code << 4 | (unsigned)half;
        }
        return code < 0x80 ? out_byte(out, (unsigned char)code) : ODD;
    }
    const char *found = name ? strchr(names, name) : NULL;
    return found ? out_byte(out, (unsigned char)bytes[found - names]) : ODD;
}

/* A JSON text behind its first quote, as one length-delimited field. */
static Ended text(Span *in, Out *out, unsigned char tag) {
    Py_ssize_t start;
    TRY(field_open(out, tag, &start));
    for (;;) {
        Span run = {in->at, in->at};
        while (run.end < in->end && *run.end != '"' && *run.end != '\\' && *run.end >= 0x20) run.end++;
        if (run.end == in->end || *run.end < 0x20 || !utf8_valid(run)) return ODD;
        TRY(out_put(out, run.at, left(&run)));
        in->at = run.end + 1;
        if (*run.end == '"') return field_close(out, start);
        TRY(escaped(in, out));
    }
}

static Ended real(Span number, Out *out) {
    char buffer[LONGEST_NUMBER + 1], *end;
    if (left(&number) > LONGEST_NUMBER) return ODD;
    memcpy(buffer, number.at, left(&number));
    buffer[left(&number)] = 0;
    double found = PyOS_string_to_double(buffer, &end, NULL);
    if (PyErr_Occurred()) {
        PyErr_Clear();
        return ODD;
    }
    if (*end || !isfinite(found)) return ODD;
    unsigned char raw[9] = {0x11};
    memcpy(raw + 1, &found, 8);  /* little-endian: module.c refuses to be built elsewhere */
    return out_put(out, raw, 9);
}

static bool digits(Span *in) {
    const unsigned char *start = in->at;
    while (left(in) > 0 && *in->at >= '0' && *in->at <= '9') in->at++;
    return in->at > start;
}

/* The characters of a number, as RFC 8259 has it (section 6); `whole` where there is neither point nor exponent. */
static Ended number_read(Span *in, Span *text, bool *whole) {
    text->at = in->at;
    if (left(in) > 0 && *in->at == '-') in->at++;
    const unsigned char *first = in->at;
    if (!digits(in) || (*first == '0' && in->at - first > 1)) return ODD;
    text->end = in->at;
    if (left(in) > 0 && *in->at == '.') {
        in->at++;
        if (!digits(in)) return ODD;
    }
    if (left(in) > 0 && (*in->at == 'e' || *in->at == 'E')) {
        in->at++;
        if (left(in) > 0 && (*in->at == '+' || *in->at == '-')) in->at++;
        if (!digits(in)) return ODD;
    }
    *whole = text->end == in->at;
    text->end = in->at;
    return OK;
}

static Ended number(Span *in, Out *out) {
    Span text;
    bool whole;
    TRY(number_read(in, &text, &whole));
    if (!whole) return real(text, out);
    bool negative = *text.at == '-';
    text.at += negative;
    if (left(&text) > DIGITS || (negative && *text.at == '0')) return ODD;
    uint64_t found = 0;
    while (text.at < text.end) found = found * 10 + (*text.at++ - '0');
    TRY(out_byte(out, 0x18));
    return out_varint(out, negative ? -found : found);
}

static Ended word(Span *in, Out *out, const char *expected, unsigned char tag, unsigned char byte) {
    Py_ssize_t width = (Py_ssize_t)strlen(expected);
    if (left(in) < width || memcmp(in->at, expected, width)) return ODD;
    in->at += width;
    TRY(out_byte(out, tag));
    return out_byte(out, byte);
}

/* What follows an element: true where another one does. */
static Ended more(Span *in, unsigned char close, bool *another) {
    if (left(in) < 1 || (*in->at != ',' && *in->at != close)) return ODD;
    *another = *in->at++ == ',';
    return OK;
}

/* The members of an object behind its brace, each as a map entry under `tag`. */
static Ended object(Span *in, Out *out, unsigned char tag, int depth) {
    bool another = true;
    if (left(in) > 0 && *in->at == '}') {
        in->at++;
        return OK;
    }
    while (another) {
        Py_ssize_t entry, body;
        TRY(field_open(out, tag, &entry));
        if (left(in) < 1 || *in->at++ != '"') return ODD;
        TRY(text(in, out, 0x0A));
        if (left(in) < 1 || *in->at++ != ':') return ODD;
        TRY(field_open(out, 0x12, &body));
        TRY(value(in, out, depth));
        TRY(field_close(out, body));
        TRY(field_close(out, entry));
        TRY(more(in, '}', &another));
    }
    return OK;
}

static Ended list(Span *in, Out *out, int depth) {
    bool another = true;
    if (left(in) > 0 && *in->at == ']') {
        in->at++;
        return OK;
    }
    while (another) {
        Py_ssize_t item;
        TRY(field_open(out, 0x0A, &item));
        TRY(value(in, out, depth));
        TRY(field_close(out, item));
        TRY(more(in, ']', &another));
    }
    return OK;
}

static Ended value(Span *in, Out *out, int depth) {
    Py_ssize_t start;
    if (left(in) < 1) return ODD;
    switch (*in->at) {
    case '"': in->at++; return text(in, out, 0x22);
    case 't': return word(in, out, "true", 0x28, 1);
    case 'f': return word(in, out, "false", 0x28, 0);
    case 'n': return word(in, out, "null", 0x08, 0);
    case '{':
    case '[':
        if (depth == MAX_DEPTH) return ODD;
        bool keyed = *in->at++ == '{';
        TRY(field_open(out, keyed ? 0x32 : 0x3A, &start));
        TRY(keyed ? object(in, out, STRUCT_ENTRY << 3 | 2, depth + 1) : list(in, out, depth + 1));
        return field_close(out, start);
    default: return number(in, out);
    }
}

static Ended entries_of(PyObject *json, Out *out, unsigned char tag, int depth) {
    Span in = {(unsigned char *)PyBytes_AS_STRING(json), (unsigned char *)PyBytes_AS_STRING(json) + PyBytes_GET_SIZE(json)};
    out->size = 0;
    if (left(&in) < 1 || *in.at++ != '{') return ODD;
    TRY(object(&in, out, tag, depth));
    return left(&in) == 0 ? OK : ODD;
}

/* The entries of one text; None, and its row in `odd`, where it is ODD. */
static PyObject *made_of(PyObject *json, Out *out, unsigned char tag, int depth, PyObject *odd, Py_ssize_t row) {
    if (json == Py_None) return Py_NewRef(Py_None);
    Ended ended = PyBytes_CheckExact(json) ? entries_of(json, out, tag, depth) : ODD;
    if (ended == FAILED) return NULL;
    if (ended == OK) return out_bytes(out);
    PyObject *place = PyLong_FromSsize_t(row);
    int added = place ? PyList_Append(odd, place) : -1;
    Py_XDECREF(place);
    return added < 0 ? NULL : Py_NewRef(Py_None);
}

PyObject *native_entries(PyObject *self, PyObject *arguments) {
    PyObject *texts;
    int number, depth;
    (void)self;
    if (!PyArg_ParseTuple(arguments, "iO!i", &number, &PyList_Type, &texts, &depth)) return NULL;
    Out out = {0};
    Py_ssize_t rows = PyList_GET_SIZE(texts);
    PyObject *made = PyList_New(rows), *odd = PyList_New(0);
    for (Py_ssize_t row = 0; made && odd && row < rows; row++) {
        PyObject *one = made_of(PyList_GET_ITEM(texts, row), &out, (unsigned char)(number << 3 | 2), depth, odd, row);
        if (one == NULL) Py_CLEAR(made);
        else PyList_SET_ITEM(made, row, one);
    }
    out_free(&out);
    if (made && odd) return Py_BuildValue("NN", made, odd);
    Py_XDECREF(made);
    Py_XDECREF(odd);
    return NULL;
}
