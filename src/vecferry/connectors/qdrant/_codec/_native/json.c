#include "json.h"

#include <math.h>
#include <stdlib.h>

enum { DEEPEST = 40, FEW = 16 };
static const double WIDE = 9223372036854775808.0;  /* from here on it may have been an unsigned integer */
static const double WHOLE = 1e15;                  /* whole numbers below it are written with all their digits */

/* ------------------------------------------------------------------ taking messages apart */

Ended members_add(Members *members, Member member) {
    if (members->count == members->room) {
        Py_ssize_t room = members->room ? members->room * 2 : FEW;
        Member *items = PyMem_Realloc(members->items, room * sizeof(Member));
        if (items == NULL) {
            PyErr_NoMemory();
            return FAILED;
        }
        members->items = items;
        members->room = room;
    }
    members->items[members->count++] = member;
    return OK;
}

/* `{ 1: key, 2: Value }`; protobuf leaves out what is empty. */
Ended entry_read(Span entry, Member *member) {
    *member = (Member){{entry.end, entry.end}, {entry.end, entry.end}};
    if (left(&entry) > 0 && *entry.at == 0x0A) {
        entry.at++;
        TRY(body_read(&entry, &member->key));
    }
    if (left(&entry) > 0 && *entry.at == 0x12) {
        entry.at++;
        TRY(body_read(&entry, &member->value));
    }
    return left(&entry) == 0 && utf8_valid(member->key) ? OK : ODD;
}

Ended struct_read(Span body, Members *members) {
    while (left(&body) > 0) {
        Span entry;
        Member member;
        if (*body.at++ != 0x0A) return ODD;
        TRY(body_read(&body, &entry));
        TRY(entry_read(entry, &member));
        TRY(members_add(members, member));
    }
    return OK;
}

/* The bytes of a `Value` that is a text. */
Ended text_of(Span value, Span *text) {
    if (left(&value) < 1 || *value.at++ != 0x22) return ODD;
    TRY(body_read(&value, text));
    return left(&value) == 0 && utf8_valid(*text) ? OK : ODD;
}

static Ended double_of(Span value, double *found) {
    if (left(&value) != 8) return ODD;
    memcpy(found, value.at, 8);
    return isfinite(*found) && *found < WIDE ? OK : ODD;
}

static Ended integer_of(Span value, uint64_t *found) {
    TRY(varint_read(&value, found));
    return left(&value) == 0 ? OK : ODD;
}

/* ------------------------------------------------------------------ canonical JSON */

static Ended json_value(Span value, Out *out, PyObject *float_text, int depth);

static Ended json_text(Span text, Out *out) {
    static const char hex[] = "0123456789abcdef", named[] = "\b\t\n\f\r", names[] = "btnfr";
    TRY(out_byte(out, '"'));
    while (left(&text) > 0) {
        Span run = {text.at, text.at};
        while (run.end < text.end && *run.end >= 0x20 && *run.end != '"' && *run.end != '\\') run.end++;
        TRY(out_put(out, run.at, left(&run)));
        text.at = run.end;
        if (left(&text) == 0) break;
        unsigned char byte = *text.at++;
        const char *found = byte ? strchr(named, byte) : NULL;
        TRY(out_byte(out, '\\'));
        if (byte >= 0x20) TRY(out_byte(out, byte));
        else if (found) TRY(out_byte(out, (unsigned char)names[found - named]));
        else {
            char code[] = {'u', '0', '0', hex[byte >> 4], hex[byte & 15]};
            TRY(out_put(out, code, sizeof code));
        }
    }
    return out_byte(out, '"');
}

static Ended json_integer(int64_t number, Out *out) {
    char digits[24], *at = digits + sizeof digits;
    uint64_t rest = number < 0 ? -(uint64_t)number : (uint64_t)number;
    do *--at = (char)('0' + rest % 10);
    while (rest /= 10);
    if (number < 0) *--at = '-';
    return out_put(out, at, digits + sizeof digits - at);
}

static Ended json_double(double number, Out *out, PyObject *float_text) {
    if (fabs(number) < WHOLE && number == (double)(int64_t)number && !(number == 0 && signbit(number))) {
        TRY(json_integer((int64_t)number, out));
        return out_put(out, ".0", 2);
    }
    PyObject *boxed = PyFloat_FromDouble(number), *text = boxed ? PyObject_CallOneArg(float_text, boxed) : NULL;
    Ended ended = text == NULL ? FAILED : PyBytes_CheckExact(text)
        ? out_put(out, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text)) : ODD;
    Py_XDECREF(boxed);
    Py_XDECREF(text);
    return ended;
}

static int by_key(const void *one, const void *other) {
    const Span *a = &((const Member *)one)->key, *b = &((const Member *)other)->key;
    Py_ssize_t common = left(a) < left(b) ? left(a) : left(b);
    int found = common ? memcmp(a->at, b->at, common) : 0;
    return found ? found : (left(a) > left(b)) - (left(a) < left(b));
}

static void sort(Members *members) {
    if (members->count > FEW) {
        qsort(members->items, members->count, sizeof(Member), by_key);
        return;
    }
    for (Py_ssize_t next = 1; next < members->count; next++) {
        Member member = members->items[next];
        Py_ssize_t place = next;
        for (; place > 0 && by_key(&members->items[place - 1], &member) > 0; place--)
            members->items[place] = members->items[place - 1];
        members->items[place] = member;
    }
}

Ended json_object(Members *members, Out *out, PyObject *float_text, int depth) {
    sort(members);
    TRY(out_byte(out, '{'));
    for (Py_ssize_t place = 0; place < members->count; place++) {
        Member *member = &members->items[place];
        if (place > 0 && by_key(member - 1, member) == 0) return ODD;
        if (place > 0) TRY(out_byte(out, ','));
        TRY(json_text(member->key, out));
        TRY(out_byte(out, ':'));
        TRY(json_value(member->value, out, float_text, depth));
    }
    return out_byte(out, '}');
}

static Ended json_struct(Span body, Out *out, PyObject *float_text, int depth) {
    Members members = {0};
    Ended ended = struct_read(body, &members);
    if (ended == OK) ended = json_object(&members, out, float_text, depth);
    PyMem_Free(members.items);
    return ended;
}

static Ended json_list(Span body, Out *out, PyObject *float_text, int depth) {
    TRY(out_byte(out, '['));
    for (bool first = true; left(&body) > 0; first = false) {
        Span item;
        if (*body.at++ != 0x0A) return ODD;
        TRY(body_read(&body, &item));
        if (!first) TRY(out_byte(out, ','));
        TRY(json_value(item, out, float_text, depth));
    }
    return out_byte(out, ']');
}

static Ended json_value(Span value, Out *out, PyObject *float_text, int depth) {
    Span body;
    double real;
    uint64_t whole;
    if (left(&value) == 0) return out_put(out, "null", 4);
    switch (*value.at++) {
    case 0x22:
        value.at--;
        TRY(text_of(value, &body));
        return json_text(body, out);
    case 0x32:
    case 0x3A:
        if (depth == DEEPEST) return ODD;
        bool keyed = value.at[-1] == 0x32;
        TRY(body_read(&value, &body));
        if (left(&value) > 0) return ODD;
        return (keyed ? json_struct : json_list)(body, out, float_text, depth + 1);
    case 0x11:
        TRY(double_of(value, &real));
        return json_double(real, out, float_text);
    case 0x18:
        TRY(integer_of(value, &whole));
        return json_integer((int64_t)whole, out);
    case 0x28:
        TRY(integer_of(value, &whole));
        return whole ? out_put(out, "true", 4) : out_put(out, "false", 5);
    case 0x08:
        TRY(integer_of(value, &whole));
        return out_put(out, "null", 4);
    default: return ODD;
    }
}

/* ------------------------------------------------------------------ Python objects */

static Ended made(PyObject *object, PyObject **found) {
    *found = object;
    return object ? OK : FAILED;
}

static Ended python_struct(Span body, PyObject **found, int depth) {
    Members members = {0};
    Ended ended = struct_read(body, &members);
    PyObject *object = ended == OK ? PyDict_New() : NULL;
    if (ended == OK && object == NULL) ended = FAILED;
    for (Py_ssize_t place = 0; ended == OK && place < members.count; place++) {
        Span text = members.items[place].key;
        PyObject *key = PyUnicode_DecodeUTF8((const char *)text.at, left(&text), NULL), *value = NULL;
        ended = key == NULL ? FAILED : python_value(members.items[place].value, &value, depth);
        if (ended == OK && PyDict_SetItem(object, key, value) < 0) ended = FAILED;
        Py_XDECREF(key);
        Py_XDECREF(value);
    }
    PyMem_Free(members.items);
    if (ended != OK) Py_CLEAR(object);
    *found = object;
    return ended;
}

static Ended python_list(Span body, PyObject **found, int depth) {
    PyObject *list = PyList_New(0);
    Ended ended = list ? OK : FAILED;
    while (ended == OK && left(&body) > 0) {
        Span item;
        PyObject *value = NULL;
        ended = *body.at++ == 0x0A ? body_read(&body, &item) : ODD;
        if (ended == OK) ended = python_value(item, &value, depth);
        if (ended == OK && PyList_Append(list, value) < 0) ended = FAILED;
        Py_XDECREF(value);
    }
    if (ended != OK) Py_CLEAR(list);
    *found = list;
    return ended;
}

Ended python_value(Span value, PyObject **found, int depth) {
    Span body;
    double real;
    uint64_t whole;
    *found = NULL;
    if (left(&value) == 0) return made(Py_NewRef(Py_None), found);
    switch (*value.at++) {
    case 0x22:
        value.at--;
        TRY(text_of(value, &body));
        return made(PyUnicode_DecodeUTF8((const char *)body.at, left(&body), NULL), found);
    case 0x32:
    case 0x3A:
        if (depth == DEEPEST) return ODD;
        bool keyed = value.at[-1] == 0x32;
        TRY(body_read(&value, &body));
        if (left(&value) > 0) return ODD;
        return (keyed ? python_struct : python_list)(body, found, depth + 1);
    case 0x11:
        TRY(double_of(value, &real));
        return made(PyFloat_FromDouble(real), found);
    case 0x18:
        TRY(integer_of(value, &whole));
        return made(PyLong_FromLongLong((int64_t)whole), found);
    case 0x28:
        TRY(integer_of(value, &whole));
        return made(PyBool_FromLong(whole != 0), found);
    case 0x08:
        TRY(integer_of(value, &whole));
        return made(Py_NewRef(Py_None), found);
    default: return ODD;
    }
}
