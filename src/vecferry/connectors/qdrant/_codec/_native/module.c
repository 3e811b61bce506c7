/* `vecferry.connectors.qdrant._codec._native`: see _native.pyi and docs/adr/0030. */
#include "native.h"

#if PY_BIG_ENDIAN
#error "vectors are copied as they lie in memory, which must be little-endian; without this module Python does it all"
#endif

static PyMethodDef methods[] = {
    {"entries", native_entries, METH_VARARGS, NULL},
    {"points", native_points, METH_VARARGS, NULL},
    {"squares", native_squares, METH_VARARGS, NULL},
    {"scaled", native_scaled, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

#ifndef MADE_OF
#define MADE_OF "unknown"
#endif

/* hatch_build.py says which source it compiles, and looks for that here. */
static const char source[] = "Made of " MADE_OF;

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_native", source, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&definition); }
