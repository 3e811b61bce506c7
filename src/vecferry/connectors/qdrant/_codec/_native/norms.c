/* The arithmetic of `norms.py` over rows of float32: the same operations in the same order, so the same bits.
 *
 * Built without contraction of products and sums (hatch_build.py), which would round once where numpy rounds twice.
 */
#include "bytes.h"
#include "native.h"

typedef struct {
    Py_buffer values, numbers, out;
    Py_ssize_t rows, dim;
} Rows;

static void rows_close(Rows *all) {
    if (all->values.obj) PyBuffer_Release(&all->values);
    if (all->numbers.obj) PyBuffer_Release(&all->numbers);
    if (all->out.obj) PyBuffer_Release(&all->out);
}

static bool rows_fit(const Rows *all) {
    if (all->dim < 0 || all->dim > INT32_MAX || all->rows > INT32_MAX) return false;  /* so that no product overflows */
    return all->values.len / 4 == all->rows * all->dim && (!all->out.obj || all->out.len == all->values.len);
}

/* The sum of a row's squares; `norms._sums` says in which order they are added. */
static double squares(const float *row, Py_ssize_t width, double *wide) {
    for (Py_ssize_t place = 0; place < width; place++) wide[place] = (double)row[place] * (double)row[place];
    while (width > 1) {
        Py_ssize_t half = width / 2;
        for (Py_ssize_t place = 0; place < half; place++) wide[place] += wide[half + place];
        if (width % 2) wide[0] += wide[width - 1];
        width = half;
    }
    return width ? wide[0] : 0.0;
}

PyObject *native_squares(PyObject *self, PyObject *arguments) {
    Rows all = {0};
    (void)self;
    if (!PyArg_ParseTuple(arguments, "y*nw*", &all.values, &all.dim, &all.numbers)) return NULL;
    all.rows = all.numbers.len / 8;
    bool fit = rows_fit(&all);
    double *wide = fit ? PyMem_Malloc((all.dim + 1) * sizeof(double)) : NULL;
    if (wide) {
        const float *row = all.values.buf;
        for (Py_ssize_t number = 0; number < all.rows; number++, row += all.dim)
            ((double *)all.numbers.buf)[number] = squares(row, all.dim, wide);
    } else if (fit) {
        PyErr_NoMemory();
    } else {
        PyErr_SetString(PyExc_ValueError, "arrays of other sizes");
    }
    PyMem_Free(wide);
    rows_close(&all);
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

/* Each row divided by, or times, its number, rounded to float32. */
PyObject *native_scaled(PyObject *self, PyObject *arguments) {
    Rows all = {0};
    int divide;
    (void)self;
    if (!PyArg_ParseTuple(arguments, "y*ny*w*p", &all.values, &all.dim, &all.numbers, &all.out, &divide)) return NULL;
    all.rows = all.numbers.len / 8;
    const float *in = all.values.buf;
    float *out = all.out.buf;
    const double *numbers = all.numbers.buf;
    if (!rows_fit(&all)) all.rows = 0, PyErr_SetString(PyExc_ValueError, "arrays of other sizes");
    for (Py_ssize_t number = 0; number < all.rows; number++, in += all.dim, out += all.dim) {
        double by = numbers[number];
        if (divide) for (Py_ssize_t place = 0; place < all.dim; place++) out[place] = (float)((double)in[place] / by);
        else for (Py_ssize_t place = 0; place < all.dim; place++) out[place] = (float)((double)in[place] * by);
    }
    rows_close(&all);
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}
