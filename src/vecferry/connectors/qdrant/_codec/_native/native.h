#ifndef VECFERRY_NATIVE_H
#define VECFERRY_NATIVE_H

#include <Python.h>

PyObject *native_entries(PyObject *self, PyObject *arguments);
PyObject *native_points(PyObject *self, PyObject *arguments);
PyObject *native_squares(PyObject *self, PyObject *arguments);
PyObject *native_scaled(PyObject *self, PyObject *arguments);

#endif
