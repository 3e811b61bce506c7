/* The vectors of points, gathered as rows of floats. */
#ifndef VECFERRY_VECTORS_H
#define VECFERRY_VECTORS_H

#include "json.h"

typedef struct {
    Span name;
    Py_ssize_t dim;  /* 1 to MOST_NUMBERS */
    Out values, there;  /* float32, rows of zeros where a point has none; one byte a point */
} Vector;

enum { MOST_NUMBERS = 1 << 24 };

/* The `VectorsOutput` of one more point; `members` is room to work in. */
Ended vectors_put(Vector *vectors, Py_ssize_t count, Members *members, Span body);

#endif
