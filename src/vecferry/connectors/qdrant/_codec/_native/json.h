/* Qdrant's protobuf `Value`s as canonical JSON (`vecferry.tags`) and as Python objects. */
#ifndef VECFERRY_JSON_H
#define VECFERRY_JSON_H

#include "bytes.h"

typedef struct {
    Span key, value;
} Member;

typedef struct {
    Member *items;
    Py_ssize_t count, room;
} Members;

Ended members_add(Members *members, Member member);
Ended entry_read(Span entry, Member *member);
Ended struct_read(Span body, Members *members);
Ended text_of(Span value, Span *text);

/* The members as one canonical object. `float_text` gives the JSON text of a float. ODD: two have one key. */
Ended json_object(Members *members, Out *out, PyObject *float_text, int depth);

/* A new reference in `found`. */
Ended python_value(Span value, PyObject **found, int depth);

#endif
