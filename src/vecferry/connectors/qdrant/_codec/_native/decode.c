/* Points of a `ScrollResponse` or `GetResponse` as columns: texts as Arrow's buffers, vectors as rows of floats.
 *
 * `grpc_read.parts`, `shape.take` and `restore` are the same in Python, and do every part of an answer in which a single
 * point is ODD: shaped unlike its layout, with a note that changes what stands beside it, with a float that may have
 * been an integer.
 */
#include "native.h"
#include "vectors.h"

typedef struct {
    Out data, offsets, bits;
    Py_ssize_t rows, nulls;
} Texts;

enum { DOCUMENT, URI, ID, METADATA, ENVELOPE, KEYS };

typedef struct {
    Span keys[KEYS];  /* where none is: at == NULL */
    bool flat, ours;
    PyObject *float_text;
    Py_ssize_t vectors;
    Vector *vector;
    Members payload, inner;
    Texts documents, uris, metadata;
    Out seqs, seqs_there, lengths;
    PyObject *ids, *names, *rests;
    Py_ssize_t rows;
} Page;

static bool is_word(Span text, const char *word) {
    return left(&text) == (Py_ssize_t)strlen(word) && memcmp(text.at, word, left(&text)) == 0;
}

/* ------------------------------------------------------------------ columns of text */

static Ended texts_end(Texts *texts, bool there) {
    int64_t offset = texts->data.size;
    if (texts->rows % 8 == 0) TRY(out_byte(&texts->bits, 0));
    if (there) texts->bits.data[texts->rows / 8] |= (unsigned char)(1 << texts->rows % 8);
    texts->nulls += !there;
    texts->rows++;
    return out_put(&texts->offsets, &offset, sizeof offset);
}

static Ended texts_put(Texts *texts, const Span *text) {
    if (text) TRY(out_put(&texts->data, text->at, left(text)));
    return texts_end(texts, text != NULL);
}

/* ------------------------------------------------------------------ the envelope */

static Ended rest_put(Page *page, Span key, Span value) {
    if (page->rests == NULL && (page->rests = PyList_New(0)) == NULL) return FAILED;
    while (PyList_GET_SIZE(page->rests) <= page->rows)
        if (PyList_Append(page->rests, Py_None) < 0) return FAILED;
    PyObject *rest = PyList_GET_ITEM(page->rests, page->rows), *name, *made = NULL;
    if (rest == Py_None) {
        if ((rest = PyDict_New()) == NULL) return FAILED;
        PyList_SetItem(page->rests, page->rows, rest);
    }
    Ended ended = python_value(value, &made, 0);
    if (ended != OK) return ended;
    name = PyUnicode_DecodeUTF8((const char *)key.at, left(&key), NULL);
    ended = name && PyDict_SetItem(rest, name, made) == 0 ? OK : FAILED;
    Py_XDECREF(name);
    Py_DECREF(made);
    return ended;
}

static Ended note(Page *page, Member member, int64_t *seq, unsigned char *ordered, double *length) {
    Span key = member.key, value = member.value, text;
    uint64_t number;
    if (is_word(key, "seq")) {
        if (left(&value) < 2 || *value.at++ != 0x18) return ODD;
        TRY(varint_read(&value, &number));
        *seq = (int64_t)number;
        *ordered = 1;
        return left(&value) == 0 ? OK : ODD;
    }
    if (is_word(key, "n") && page->vectors == 1 && left(&value) == 9 && *value.at == 0x11) {
        memcpy(length, value.at + 1, 8);
        return OK;
    }
    if (is_word(key, "id")) TRY(text_of(value, &text));
    else if (!is_word(key, "n") && !is_word(key, "v") && !is_word(key, "t")) return ODD;
    return rest_put(page, key, value);
}

static Ended envelope(Page *page, Span value) {
    int64_t seq = 0;
    unsigned char ordered = 0;
    double length = 1.0;
    Span body;
    page->inner.count = 0;
    if (value.at) {
        if (left(&value) < 1 || *value.at++ != 0x32) return ODD;
        TRY(body_read(&value, &body));
        if (left(&value) > 0) return ODD;
        TRY(struct_read(body, &page->inner));
    }
    for (Py_ssize_t place = 0; place < page->inner.count; place++)
        TRY(note(page, page->inner.items[place], &seq, &ordered, &length));
    TRY(out_put(&page->seqs, &seq, sizeof seq));
    TRY(out_byte(&page->seqs_there, ordered));
    return out_put(&page->lengths, &length, sizeof length);
}

/* ------------------------------------------------------------------ the payload */

static Ended own_text(Span value, Texts *texts) {
    Span text;
    if (value.at == NULL) return texts_put(texts, NULL);
    TRY(text_of(value, &text));
    return texts_put(texts, &text);
}

static Ended name_put(Page *page, Span value) {
    Span text;
    PyObject *name = Py_None;
    if (value.at) {
        TRY(text_of(value, &text));
        if ((name = PyUnicode_DecodeUTF8((const char *)text.at, left(&text), NULL)) == NULL) return FAILED;
    } else if (page->flat) {
        Py_INCREF(name);
    } else {
        return ODD;
    }
    int added = PyList_Append(page->names, name);
    Py_DECREF(name);
    return added < 0 ? FAILED : OK;
}

static Ended nested(Page *page, Span value) {
    Span body;
    if (value.at == NULL) return texts_end(&page->metadata, false);
    if (left(&value) < 1 || *value.at++ != 0x32) return ODD;
    TRY(body_read(&value, &body));
    if (left(&value) > 0) return ODD;
    page->inner.count = 0;
    TRY(struct_read(body, &page->inner));
    TRY(json_object(&page->inner, &page->metadata.data, page->float_text, 0));
    return texts_end(&page->metadata, true);
}

/* The members of a payload: those under the layout's own keys into `own`, the others stay. */
static Ended part(Page *page, Span own[KEYS]) {
    Py_ssize_t kept = 0;
    for (int key = 0; key < KEYS; key++) own[key].at = own[key].end = NULL;
    for (Py_ssize_t place = 0; place < page->payload.count; place++) {
        Member member = page->payload.items[place];
        int key = 0;
        while (key < KEYS && !same(member.key, page->keys[key])) key++;
        if (key == KEYS) page->payload.items[kept++] = member;
        else if (own[key].at) return ODD;
        else own[key] = member.value;
    }
    page->payload.count = kept;
    return kept == 0 || page->flat ? OK : ODD;
}

static Ended payload(Page *page) {
    Span own[KEYS];
    TRY(part(page, own));
    TRY(own_text(own[DOCUMENT], &page->documents));
    TRY(own_text(own[URI], &page->uris));
    if (page->names) TRY(name_put(page, own[ID]));
    TRY(envelope(page, own[ENVELOPE]));
    if (!page->flat) return nested(page, own[METADATA]);
    if (page->payload.count == 0 && !page->ours) return texts_end(&page->metadata, false);
    TRY(json_object(&page->payload, &page->metadata.data, page->float_text, 0));
    return texts_end(&page->metadata, true);
}

/* ------------------------------------------------------------------ points */

static Ended point_id(Page *page, Span body) {
    uint64_t number = 0;
    Span text;
    PyObject *id;
    if (left(&body) > 0 && *body.at == 0x12) {
        body.at++;
        TRY(body_read(&body, &text));
        if (!utf8_valid(text)) return ODD;
        id = PyUnicode_DecodeUTF8((const char *)text.at, left(&text), NULL);
    } else {
        if (left(&body) > 0 && *body.at++ != 0x08) return ODD;
        if (left(&body) > 0) TRY(varint_read(&body, &number));
        id = PyUnicode_FromFormat("%llu", (unsigned long long)number);
    }
    int added = id && left(&body) == 0 ? PyList_Append(page->ids, id) : -1;
    Py_XDECREF(id);
    return added < 0 ? PyErr_Occurred() ? FAILED : ODD : OK;
}

/* One `RetrievedPoint`. */
static Ended point(Page *page, Span in) {
    Span body, found = {in.end, in.end};
    Member member;
    page->payload.count = 0;
    while (left(&in) > 0) {
        unsigned char tag = *in.at++;
        if ((tag & 7) != 2 || tag > 127) return ODD;
        TRY(body_read(&in, &body));
        if (tag == 0x12) {
            TRY(entry_read(body, &member));
            TRY(members_add(&page->payload, member));
        } else if (tag == 0x0A) {
            TRY(point_id(page, body));
        } else if (tag == 0x22) {
            found = body;
        }
    }
    TRY(payload(page));
    TRY(vectors_put(page->vector, page->vectors, &page->inner, found));
    page->rows++;
    return PyList_GET_SIZE(page->ids) == page->rows ? OK : ODD;
}

/* The points of an answer from `in` on, at most `most`. */
static Ended points(Page *page, Span *in, unsigned char wanted, Py_ssize_t most) {
    static const int widths[] = {0, 8, 0, 0, 0, 4};
    while (left(in) > 0 && page->rows < most) {
        unsigned char tag = *in->at++;
        uint64_t number;
        Span body = {NULL, NULL};
        if (tag > 127) return ODD;
        if ((tag & 7) == 0) TRY(varint_read(in, &number));
        else if ((tag & 7) == 2) TRY(body_read(in, &body));
        else if (((tag & 7) == 1 || (tag & 7) == 5) && left(in) >= widths[tag & 7]) in->at += widths[tag & 7];
        else return ODD;
        if (tag == wanted) TRY(point(page, body));
    }
    return OK;
}

/* ------------------------------------------------------------------ to and from Python */

static int key_of(PyObject *object, Span *key) {
    if (object == Py_None) return 0;
    Py_ssize_t size;
    const char *text = PyUnicode_AsUTF8AndSize(object, &size);
    if (text == NULL) return -1;
    *key = (Span){(const unsigned char *)text, (const unsigned char *)text + size};
    return 0;
}

static int page_open(Page *page, PyObject *keys, PyObject *vectors) {
    if (PyTuple_GET_SIZE(keys) != KEYS) {
        PyErr_SetString(PyExc_ValueError, "five keys are needed");
        return -1;
    }
    for (int key = 0; key < KEYS; key++)
        if (key_of(PyTuple_GET_ITEM(keys, key), &page->keys[key]) < 0) return -1;
    page->flat = page->keys[METADATA].at == NULL;
    page->ours = page->keys[ENVELOPE].at != NULL;
    page->vectors = PyTuple_GET_SIZE(vectors);
    page->vector = PyMem_Calloc(page->vectors + 1, sizeof(Vector));
    if (page->vector == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t number = 0; number < page->vectors; number++) {
        PyObject *name;
        Vector *vector = &page->vector[number];
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(vectors, number), "Un", &name, &vector->dim)) return -1;
        if (key_of(name, &vector->name) < 0) return -1;
        if (vector->dim < 1 || vector->dim > MOST_NUMBERS) {
            PyErr_SetString(PyExc_ValueError, "no vector is that long");
            return -1;
        }
    }
    int64_t start = 0;
    Texts *texts[] = {&page->documents, &page->uris, &page->metadata};
    for (int one = 0; one < 3; one++)
        if (out_put(&texts[one]->offsets, &start, sizeof start) != OK) return -1;
    page->ids = PyList_New(0);
    page->names = page->keys[ID].at ? PyList_New(0) : NULL;
    return page->ids && (page->names || !page->keys[ID].at) ? 0 : -1;
}

static void page_close(Page *page) {
    Out *outs[] = {
        &page->documents.data, &page->documents.offsets, &page->documents.bits, &page->uris.data, &page->uris.offsets,
        &page->uris.bits, &page->metadata.data, &page->metadata.offsets, &page->metadata.bits, &page->seqs,
        &page->seqs_there, &page->lengths,
    };
    for (size_t one = 0; one < sizeof outs / sizeof *outs; one++) out_free(outs[one]);
    for (Py_ssize_t number = 0; page->vector && number < page->vectors; number++) {
        out_free(&page->vector[number].values);
        out_free(&page->vector[number].there);
    }
    PyMem_Free(page->vector);
    PyMem_Free(page->payload.items);
    PyMem_Free(page->inner.items);
    Py_XDECREF(page->ids);
    Py_XDECREF(page->names);
    Py_XDECREF(page->rests);
}

static PyObject *texts_made(const Texts *texts) {
    return Py_BuildValue("NNNn", out_bytes(&texts->data), out_bytes(&texts->offsets), out_bytes(&texts->bits), texts->nulls);
}

static PyObject *vectors_made(const Page *page) {
    PyObject *found = PyTuple_New(page->vectors);
    for (Py_ssize_t number = 0; found && number < page->vectors; number++) {
        const Vector *vector = &page->vector[number];
        PyObject *one = Py_BuildValue("NN", out_bytes(&vector->values), out_bytes(&vector->there));
        if (one == NULL) Py_CLEAR(found);
        else PyTuple_SET_ITEM(found, number, one);
    }
    return found;
}

static PyObject *page_made(const Page *page, Py_ssize_t at) {
    return Py_BuildValue(
        "nOOONNNNNNN", at, page->ids, page->names ? page->names : Py_None, page->rests ? page->rests : Py_None,
        texts_made(&page->documents), texts_made(&page->uris), texts_made(&page->metadata), out_bytes(&page->seqs),
        out_bytes(&page->seqs_there), out_bytes(&page->lengths), vectors_made(page));
}

PyObject *native_points(PyObject *self, PyObject *arguments) {
    PyObject *data, *keys, *vectors, *float_text, *found = NULL;
    Py_ssize_t at, most;
    int result;
    Page page = {0};
    (void)self;
    if (!PyArg_ParseTuple(arguments, "SninO!O!O", &data, &at, &result, &most, &PyTuple_Type, &keys, &PyTuple_Type,
                          &vectors, &float_text)) return NULL;
    const unsigned char *start = (const unsigned char *)PyBytes_AS_STRING(data);
    Span in = {start + at, start + PyBytes_GET_SIZE(data)};
    page.float_text = float_text;
    Ended ended = at < 0 || left(&in) < 0 || page_open(&page, keys, vectors) < 0
        ? FAILED : points(&page, &in, (unsigned char)(result << 3 | 2), most);
    if (ended == OK) found = page_made(&page, in.at - start);
    else if (ended == ODD) found = Py_NewRef(Py_None);
    else if (!PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "the start lies outside of the answer");
    page_close(&page);
    return found;
}
