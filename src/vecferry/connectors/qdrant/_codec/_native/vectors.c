/* The vectors of a point as rows of floats, in each of the three forms that `grpc_read` tells of. */
#include "vectors.h"

/* Up to 1.16: a tag byte before each float. */
static Ended tagged(Span body, Py_ssize_t dim, unsigned char *values) {
    unsigned char odd = 0;
    for (Py_ssize_t place = 0; place < dim; place++) {
        odd |= body.at[5 * place] ^ 0x0D;
        memcpy(values + 4 * place, body.at + 5 * place + 1, 4);
    }
    return odd ? ODD : OK;
}

/* One `VectorOutput`: tagged floats, packed ones, or `dense { data packed }`. */
static Ended dense(Span body, Vector *vector) {
    Py_ssize_t width = 4 * vector->dim;
    Span packed;
    TRY(out_room(&vector->values, width));
    unsigned char *values = vector->values.data + vector->values.size;
    vector->values.size += width;
    if (left(&body) == 5 * vector->dim && body.at[0] == 0x0D) return tagged(body, vector->dim, values);
    if (left(&body) > 2 && body.at[0] == 0xAA && body.at[1] == 0x06) {
        body.at += 2;
        TRY(body_read(&body, &packed));
        if (left(&body) > 0) return ODD;
        body = packed;
    }
    if (left(&body) < 1 || *body.at++ != 0x0A) return ODD;
    TRY(body_read(&body, &packed));
    if (left(&body) > 0 || left(&packed) != width) return ODD;
    memcpy(values, packed.at, width);
    return OK;
}

/* `VectorsOutput { vector | vectors { name -> VectorOutput } }` as members. */
static Ended vectors_read(Span body, Members *members) {
    Span inner, entry;
    Member member;
    members->count = 0;
    if (left(&body) == 0) return OK;
    unsigned char tag = *body.at++;
    TRY(body_read(&body, &inner));
    if (left(&body) > 0) return ODD;
    if (tag == 0x0A) return members_add(members, (Member){{inner.end, inner.end}, inner});
    if (tag != 0x12) return ODD;
    while (left(&inner) > 0) {
        if (*inner.at++ != 0x0A) return ODD;
        TRY(body_read(&inner, &entry));
        TRY(entry_read(entry, &member));
        TRY(members_add(members, member));
    }
    return OK;
}

static Ended zeros(Vector *vector) {
    Py_ssize_t width = 4 * vector->dim;
    TRY(out_room(&vector->values, width));
    memset(vector->values.data + vector->values.size, 0, width);
    vector->values.size += width;
    return OK;
}

Ended vectors_put(Vector *vectors, Py_ssize_t count, Members *members, Span body) {
    TRY(vectors_read(body, members));
    for (Vector *vector = vectors; vector < vectors + count; vector++) {
        Py_ssize_t place = members->count - 1;  /* the last one of a name counts, as in every map of protobuf */
        while (place >= 0 && !same(members->items[place].key, vector->name)) place--;
        TRY(out_byte(&vector->there, place >= 0));
        TRY(place >= 0 ? dense(members->items[place].value, vector) : zeros(vector));
    }
    return OK;
}
