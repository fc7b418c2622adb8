/* What small calls cost through the C API, beside the time of an empty one: the fastest of many rounds, in nanoseconds.
 *
 *   cc -O2 -std=c11 -Itests/c -Ibuild/c/include benchmarks/small_calls.c -Lbuild/c/lib -lcaudal -o build/small_calls
 *   LD_LIBRARY_PATH=build/c/lib build/small_calls
 */
#include "support.h"

enum { ROUNDS = 200, CALLS = 2000 }; /* rounds are short, so that some pass undisturbed on a busy machine */

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

/* Prints the time of the fastest round, and of the one in the middle. */
#define MEASURE(what, calls, body)                                                                                     \
    do {                                                                                                               \
        double times[ROUNDS];                                                                                          \
        for (int round = 0; round < ROUNDS; round++) {                                                                 \
            double start = now();                                                                                      \
            for (int call = 0; call < (calls); call++) body;                                                           \
            times[round] = (now() - start) / (calls);                                                                  \
        }                                                                                                              \
        qsort(times, ROUNDS, sizeof *times, compare);                                                                  \
        printf("%-58s %9.0f ns   median %9.0f\n", what, times[0], times[ROUNDS / 2]);                                  \
    } while (0)

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static cdl_tensor *run(const cdl_function *function, const cdl_tensor *const *inputs, size_t n) {
    cdl_tensor *output = NULL;
    OK(cdl_function_run(function, inputs, n, NULL, &output, 1, NULL));
    return output;
}

static void eager(void) {
    cdl_op *add = NULL;
    OK(cdl_op_new(S("add"), NULL, 0, &add));
    const int64_t dims[] = {8};
    cdl_tensor *x = filled(dims, 1, 1), *y = filled(dims, 1, 2), *z = NULL;
    size_t count = 0;
    MEASURE("eager add of 8 floats, freed", CALLS, {
        OK(cdl_eager(add, TENSORS(x, y), 2, NULL, &z, 1, &count));
        cdl_tensor_free(z);
    });
    MEASURE("a tensor of 8 floats made and freed", CALLS, {
        OK(cdl_tensor_new(CDL_F32, dims, 1, NULL, 0, &z));
        cdl_tensor_free(z);
    });
    cdl_tensor_free(x);
    cdl_tensor_free(y);
    cdl_op_free(add);
}

/* A chain of `count` ops on [n, 8]; those of every third are matmuls, which do not fuse, if `mixed`. */
static cdl_program *chain(int count, int mixed) {
    cdl_graph *graph = NULL;
    OK(cdl_graph_new(&graph));
    uint32_t x = input(graph, "x", "float32[n, 8]"), w = state(graph, "w", (int64_t[]){8, 8}, 2, 0.1f);
    uint32_t one = constant(graph, filled(NULL, 0, 1));
    for (int i = 0; i < count; i++) {
        if (mixed && i % 3 == 0)
            x = apply(graph, "matmul", "", VALUES(x, w), 2);
        else
            x = i % 2 ? apply(graph, "tanh", "", &x, 1) : apply(graph, "add", "", VALUES(x, one), 2);
    }
    function(graph, "run", NAMES("y"), &x, 1, "");
    return program_of(graph);
}

static void functions(void) {
    cdl_program *programs[] = {chain(10, 0), chain(10, 1), chain(100, 1)};
    cdl_tensor *small = filled((int64_t[]){1, 8}, 2, 1);
    const char *names[] = {"ten element-wise ops on [1, 8], which fuse", "ten ops on [1, 8], four of them matmuls",
                           "a hundred ops on [1, 8], 34 of them matmuls"};
    for (int i = 0; i < 3; i++) {
        cdl_session *session = session_of(programs[i]);
        const cdl_function *function = function_of(session, "run");
        MEASURE(names[i], i == 2 ? 20 : 200, cdl_tensor_free(run(function, TENSORS(small), 1)));
        cdl_session_free(session);
    }
    /* More sizes than a session keeps, so each call works them out anew. */
    enum { SIZES = 64 };
    cdl_tensor *many[SIZES];
    for (int i = 0; i < SIZES; i++) many[i] = filled((int64_t[]){i + 1, 8}, 2, 1);
    cdl_session *session = session_of(programs[2]);
    const cdl_function *function = function_of(session, "run");
    MEASURE("the same in new sizes [1 to 64, 8] each call", SIZES, cdl_tensor_free(run(function, TENSORS(many[call]), 1)));
    MEASURE("and what of that the run itself takes, at [32, 8]", SIZES, cdl_tensor_free(run(function, TENSORS(many[31]), 1)));
    cdl_session_free(session);
    for (int i = 0; i < SIZES; i++) cdl_tensor_free(many[i]);
    for (int i = 0; i < 3; i++) cdl_program_free(programs[i]);
    cdl_tensor_free(small);
}

static void perceptron(void) {
    cdl_graph *graph = NULL;
    OK(cdl_graph_new(&graph));
    uint32_t x = input(graph, "x", "float32[batch, 784]");
    const int64_t sizes[][2] = {{784, 512}, {512}, {512, 10}, {10}};
    uint32_t w1 = state(graph, "w1", sizes[0], 2, 0.01f), b1 = state(graph, "b1", sizes[1], 1, 0);
    uint32_t w2 = state(graph, "w2", sizes[2], 2, 0.01f), b2 = state(graph, "b2", sizes[3], 1, 0);
    uint32_t h = apply(graph, "add", "", VALUES(apply(graph, "matmul", "", VALUES(x, w1), 2), b1), 2);
    h = apply(graph, "relu", "", &h, 1);
    h = apply(graph, "add", "", VALUES(apply(graph, "matmul", "", VALUES(h, w2), 2), b2), 2);
    h = apply(graph, "softmax", "", &h, 1);
    function(graph, "predict", NAMES("y"), &h, 1, "");
    cdl_program *program = program_of(graph);
    cdl_session *session = session_of(program);
    const cdl_function *predict = function_of(session, "predict");
    cdl_tensor *one = filled((int64_t[]){1, 784}, 2, 0.5f);
    MEASURE("predict of a perceptron 784-512-10 at batch 1", 10, cdl_tensor_free(run(predict, TENSORS(one), 1)));
    cdl_tensor_free(one);
    cdl_session_free(session);
    cdl_program_free(program);
}

int main(void) {
    eager();
    functions();
    perceptron();
    return 0;
}
