/* The first lines of the guide, as they stand between the two marks for clang-format; with real data in place of
 * names.
 */
#include "support.h"

#define TRY(call)                                                                                                      \
    do {                                                                                                               \
        if ((err = (call))) goto done;                                                                                 \
    } while (0)

/* A linear classifier of pictures. */
static cdl_program *pictures(void) {
    cdl_graph *graph = NULL;
    cdl_op *adam = NULL;
    OK(cdl_graph_new(&graph));
    uint32_t x = input(graph, "x", "float32[batch, 28, 28, 1]"), y = input(graph, "y", "int32[batch]"), grads[2];
    uint32_t p[2] = {state(graph, "kernel", (int64_t[]){784, 10}, 2, 0), state(graph, "bias", (int64_t[]){10}, 1, 0)};
    uint32_t flat = apply(graph, "reshape", "{\"shape\": [-1, 784]}", &x, 1);
    uint32_t logits = apply(graph, "add", "", VALUES(apply(graph, "matmul", "", VALUES(flat, p[0]), 2), p[1]), 2);
    uint32_t output = apply(graph, "softmax", "{\"axis\": -1}", &logits, 1);
    uint32_t losses = apply(graph, "softmax_cross_entropy", "", VALUES(logits, y), 2);
    uint32_t best = apply(graph, "argmax", "{\"axis\": -1}", &logits, 1);
    uint32_t right = apply(graph, "equal", "", VALUES(best, apply(graph, "cast", "{\"dtype\": \"int64\"}", &y, 1)), 2);
    right = apply(graph, "cast", "{\"dtype\": \"float32\"}", &right, 1);
    uint32_t outputs[2] = {apply(graph, "mean", "", &losses, 1), apply(graph, "mean", "", &right, 1)};
    OK(cdl_graph_grad(graph, outputs[0], p, 2, grads));
    function(graph, "predict", NAMES("output"), &output, 1, "");
    uint32_t step =
        function(graph, "train_step", NAMES("loss", "accuracy"), outputs, 2, "{\"inputs\": [\"x\", \"y\"]}");
    OK(cdl_op_new(S("adam"), NULL, 0, &adam));
    cdl_tensor *rate = filled(NULL, 0, 0.1f);
    OK(cdl_graph_optimize(graph, step, S("optimizer"), adam, rate, grads, p, 2));
    cdl_tensor_free(rate);
    cdl_op_free(adam);
    return program_of(graph);
}

static int sample(const char *path) {
    enum { n = 8 };
    static float pixels[n * 784];
    static int32_t labels[n];
    for (int i = 0; i < n; i++) {
        labels[i] = i;
        for (int j = 0; j < 784; j++) pixels[i * 784 + j] = j % n == i ? 1.0f : 0.0f;
    }
    const int64_t dims[] = {n, 28, 28, 1};
    cdl_error *err = NULL;
    cdl_limits *lim = NULL;
    cdl_program *prog = NULL, *snap = NULL, *small = NULL;
    cdl_session *ses = NULL;
    cdl_tensor *x = NULL, *y = NULL, *rate = filled(NULL, 0, 1e-3f), *p = NULL, *m[2];
    const cdl_function *predict, *step;
    const cdl_spec *spec;
    const char *name;
    OK(cdl_tensor_new(CDL_I32, dims, 1, labels, sizeof labels, &y));

    /* clang-format off */
TRY(cdl_limits_new(256u << 20, 2.0, &lim));                                  /* 256 MiB, 2 s a call */
TRY(cdl_program_open(path, CDL_NUL, NULL, 0, lim, &prog));
TRY(cdl_program_session(prog, S("{\"device\": \"cpu\"}"), lim, &ses));       /* "gpu:0", "auto"; "strict": true */
TRY(cdl_session_function(ses, S("predict"), &predict));
TRY(cdl_session_function(ses, S("train_step"), &step));
for (size_t i = 0; (spec = cdl_function_spec(predict, CDL_INPUT, i, &name)); i++) printf("%s: %s\n", name, spec->text);
TRY(cdl_tensor_new(CDL_F32, dims, 4, pixels, n * 784 * 4, &x));              /* y and rate likewise */
TRY(cdl_function_run(predict, (const cdl_tensor *[]){x}, 1, lim, &p, 1, NULL));  /* from any number of threads */
printf("%g\n", ((const float *)p->data)[0]);
TRY(cdl_session_set_state(ses, (const char *[]){"optimizer/learning_rate"}, (const cdl_tensor *[]){rate}, 1));
for (int i = 0; i < 20; i++) {
    TRY(cdl_function_run(step, (const cdl_tensor *[]){x, y}, 2, lim, m, 2, NULL));
    printf("loss %g\n", *(const float *)m[0]->data);
    cdl_tensor_free(m[0]); cdl_tensor_free(m[1]);
}
TRY(cdl_session_snapshot(ses, &snap)); TRY(cdl_program_save(snap, S("tuned.caudal")));
TRY(cdl_program_select(snap, (const char *[]){"predict"}, 1, &small)); TRY(cdl_program_save(small, S("predict.caudal")));
done: if (err) fprintf(stderr, "%s [%d, %s:%u]\n", err->message, err->code, err->file ? err->file : "?", err->line);
    /* clang-format on */

    int failed = err != NULL;
    cdl_error_free(err);
    cdl_tensor_free(x);
    cdl_tensor_free(y);
    cdl_tensor_free(rate);
    cdl_tensor_free(p);
    cdl_program_free(small);
    cdl_program_free(snap);
    cdl_session_free(ses);
    cdl_program_free(prog);
    cdl_limits_free(lim);
    return failed;
}

int main(void) {
    cdl_program *program = pictures();
    OK(cdl_program_save(program, S("pictures.caudal")));
    cdl_program_free(program);
    return sample("pictures.caudal");
}
