/* What the C tests share: checks that count what fails, and small programs to run. */
#ifndef SUPPORT_H
#define SUPPORT_H

#define _POSIX_C_SOURCE 200809L /* nanosleep */

#include <caudal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define S(text) (text), CDL_NUL
#define VALUES(...)                                                                                                    \
    (const uint32_t[]) {                                                                                               \
        __VA_ARGS__                                                                                                    \
    }
#define TENSORS(...)                                                                                                   \
    (const cdl_tensor *[]) {                                                                                           \
        __VA_ARGS__                                                                                                    \
    }
#define NAMES(...)                                                                                                     \
    (const char *[]) {                                                                                                 \
        __VA_ARGS__                                                                                                    \
    }

static int failures;

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                            \
            failures++;                                                                                                \
        }                                                                                                              \
    } while (0)

/* The call succeeds; else nothing that follows makes sense. */
#define OK(call)                                                                                                       \
    do {                                                                                                               \
        cdl_error *error_ = (call);                                                                                    \
        if (error_) {                                                                                                  \
            fprintf(stderr, "%s:%d: %s: [%d] %s\n", __FILE__, __LINE__, #call, error_->code, error_->message);         \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

/* The call fails with this code and this whole message, or any if that is NULL. */
#define FAILS(code, message, call) check_error(__FILE__, __LINE__, (call), (code), (message), NULL)
/* The same, and the error names this argument. */
#define FAILS_AT(code, message, argument, call) check_error(__FILE__, __LINE__, (call), (code), (message), (argument))

static inline void check_error(const char *file, int line, cdl_error *error, int32_t code, const char *message,
                               const char *argument) {
    if (!error) {
        fprintf(stderr, "%s:%d: no error, expected [%d] %s\n", file, line, code, message ? message : "any");
        failures++;
        return;
    }
    int same = error->code == code && (!message || strcmp(error->message, message) == 0);
    if (argument && (!error->argument || strcmp(error->argument, argument) != 0)) same = 0;
    if (!same) {
        fprintf(stderr, "%s:%d: [%d] %s (argument %s)\n    expected [%d] %s (argument %s)\n", file, line, error->code,
                error->message, error->argument ? error->argument : "-", code, message ? message : "any",
                argument ? argument : "any");
        failures++;
    }
    cdl_error_free(error);
}

static inline int done(void) {
    if (failures) fprintf(stderr, "%d checks failed\n", failures);
    return failures != 0;
}

static inline void nap(double seconds) {
    struct timespec time = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&time, NULL);
}

/* Applies an op with regions; gives its first output. */
static inline uint32_t apply_regions(cdl_graph *graph, const char *name, const char *attrs,
                                     const cdl_graph *const *regions, size_t n_regions, const uint32_t *inputs,
                                     size_t n) {
    cdl_op *op = NULL;
    uint32_t first = 0;
    size_t count = 0;
    OK(cdl_op_new(S(name), S(attrs), &op));
    OK(cdl_graph_apply(graph, op, regions, n_regions, inputs, n, &first, &count));
    cdl_op_free(op);
    return first;
}

static inline uint32_t apply(cdl_graph *graph, const char *name, const char *attrs, const uint32_t *inputs, size_t n) {
    return apply_regions(graph, name, attrs, NULL, 0, inputs, n);
}

static inline uint32_t input(cdl_graph *graph, const char *name, const char *spec) {
    uint32_t value = 0;
    OK(cdl_graph_input(graph, S(name), S(spec), &value));
    return value;
}

/* A tensor of float32 that are all `value`. */
static inline cdl_tensor *filled(const int64_t *dims, size_t rank, float value) {
    cdl_tensor *tensor = NULL;
    OK(cdl_tensor_new(CDL_F32, dims, rank, NULL, 0, &tensor));
    float *elements = cdl_tensor_data_mut(tensor);
    for (size_t i = 0; i < tensor->bytes / sizeof(float); i++) elements[i] = value;
    return tensor;
}

static inline cdl_tensor *integer(int64_t value) {
    cdl_tensor *tensor = NULL;
    OK(cdl_tensor_new(CDL_I64, NULL, 0, &value, sizeof value, &tensor));
    return tensor;
}

static inline uint32_t state(cdl_graph *graph, const char *name, const int64_t *dims, size_t rank, float value) {
    uint32_t state = 0;
    cdl_tensor *initial = filled(dims, rank, value);
    OK(cdl_graph_state(graph, S(name), CDL_PARAMETER, initial, &state));
    cdl_tensor_free(initial);
    return state;
}

static inline uint32_t constant(cdl_graph *graph, cdl_tensor *tensor) {
    uint32_t value = 0;
    OK(cdl_graph_constant(graph, tensor, &value));
    cdl_tensor_free(tensor);
    return value;
}

static inline uint32_t function(cdl_graph *graph, const char *name, const char *const *names, const uint32_t *outputs,
                                size_t n, const char *notes) {
    uint32_t id = 0;
    OK(cdl_graph_function(graph, S(name), names, outputs, n, S(notes), &id));
    return id;
}

static inline cdl_program *program_of(cdl_graph *graph) {
    cdl_program *program = NULL;
    OK(cdl_program_new((const cdl_graph *[]){graph}, 1, NULL, 0, &program));
    cdl_graph_free(graph);
    return program;
}

static inline cdl_session *session_of(const cdl_program *program) {
    cdl_session *session = NULL;
    OK(cdl_program_session(program, NULL, 0, NULL, &session));
    return session;
}

static inline const cdl_function *function_of(const cdl_session *session, const char *name) {
    const cdl_function *function = NULL;
    OK(cdl_session_function(session, S(name), &function));
    return function;
}

/* The first element of float32 state. */
static inline float state_of(const cdl_session *session, const char *name) {
    cdl_tensor *tensor = NULL;
    OK(cdl_session_state(session, S(name), &tensor));
    float value = *(const float *)tensor->data;
    cdl_tensor_free(tensor);
    return value;
}

/* Counts `total` up by one, `times` times, in a loop of its own: `count(times) -> total`, which commits state `total`.
 * `times` negative is for ever. */
static inline cdl_program *counter(void) {
    cdl_graph *condition = NULL, *body = NULL, *graph = NULL;
    OK(cdl_graph_new(&condition));
    uint32_t left = input(condition, "left", "int64[]");
    input(condition, "total", "float32[]");
    uint32_t more = apply(condition, "not_equal", "", VALUES(left, constant(condition, integer(0))), 2);
    function(condition, "condition", NAMES("more"), &more, 1, "");

    OK(cdl_graph_new(&body));
    left = input(body, "left", "int64[]");
    uint32_t total = input(body, "total", "float32[]");
    uint32_t next[2] = {apply(body, "sub", "", VALUES(left, constant(body, integer(1))), 2),
                        apply(body, "add", "", VALUES(total, constant(body, filled(NULL, 0, 1))), 2)};
    function(body, "body", NAMES("left", "total"), next, 2, "");

    OK(cdl_graph_new(&graph));
    uint32_t times = input(graph, "times", "int64[]"), cell = state(graph, "total", NULL, 0, 0);
    uint32_t last = apply_regions(graph, "while_loop", "{\"carried\": 2}", (const cdl_graph *[]){condition, body}, 2,
                                  VALUES(times, cell), 2) +
                    1;
    uint32_t count = function(graph, "count", NAMES("total"), &last, 1, "");
    OK(cdl_graph_update(graph, count, &cell, &last, 1));
    cdl_graph_free(condition);
    cdl_graph_free(body);
    return program_of(graph);
}

/* `predict(x: float32[batch, 2]) -> output` and `train_step(x, y: int32[batch]) -> loss`, with Adam; one layer. */
static inline cdl_program *classifier(void) {
    cdl_graph *graph = NULL;
    cdl_op *adam = NULL;
    OK(cdl_graph_new(&graph));
    uint32_t x = input(graph, "x", "float32[batch, 2]"), y = input(graph, "y", "int32[batch]");
    uint32_t w = state(graph, "w", (int64_t[]){2, 3}, 2, 0.5f), grad = 0;
    OK(cdl_graph_location(graph, S("model.c"), 12));
    uint32_t logits = apply(graph, "matmul", "", VALUES(x, w), 2);
    uint32_t output = apply(graph, "softmax", "{\"axis\": -1}", &logits, 1);
    uint32_t losses = apply(graph, "softmax_cross_entropy", "", VALUES(logits, y), 2);
    uint32_t loss = apply(graph, "mean", "", &losses, 1);
    OK(cdl_graph_grad(graph, loss, &w, 1, &grad));
    function(graph, "predict", NAMES("output"), &output, 1, "");
    uint32_t step = function(graph, "train_step", NAMES("loss"), &loss, 1, "{\"inputs\": [\"x\", \"y\"]}");
    OK(cdl_op_new(S("adam"), NULL, 0, &adam));
    cdl_tensor *rate = filled(NULL, 0, 0.1f);
    OK(cdl_graph_optimize(graph, step, S("optimizer"), adam, rate, &grad, &w, 1));
    cdl_tensor_free(rate);
    cdl_op_free(adam);
    return program_of(graph);
}

#endif
