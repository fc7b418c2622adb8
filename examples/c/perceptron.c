/* A perceptron from nothing, in C: builds the graph, trains it, saves it, opens the file again and goes on.
 *
 *     perceptron FILE [train STEPS | resume STEPS]
 *
 * Without a command it does both, 100 steps each. The problem is exclusive or: two inputs, one hidden layer, two
 * classes. Each loss is printed exactly (%a), so that two ways of training can be compared to the bit.
 */
#include <caudal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define S(text) (text), CDL_NUL

/* On an error: keep it and go to the end, where everything is freed. */
#define TRY(call)                                                                                                      \
    do {                                                                                                               \
        if ((err = (call))) goto done;                                                                                 \
    } while (0)

enum { HIDDEN = 8, EXAMPLES = 4 };

/* Applies an op that has one output. An op is a name with attrs in JSON; the graph copies what it needs of it. */
static cdl_error *apply(cdl_graph *graph, const char *name, const char *attrs, const uint32_t *inputs, size_t n,
                        uint32_t *output) {
    cdl_error *err = NULL;
    cdl_op *op = NULL;
    size_t n_outputs = 0;
    TRY(cdl_op_new(S(name), S(attrs), &op));
    TRY(cdl_graph_apply(graph, op, NULL, 0, inputs, n, output, &n_outputs));
done:
    cdl_op_free(op);
    return err;
}

/* Adds a parameter that starts with small numbers of both signs, or with zeros where `spread` is 0. */
static cdl_error *parameter(cdl_graph *graph, const char *name, const int64_t *dims, size_t rank, float spread,
                            uint32_t *value) {
    cdl_error *err = NULL;
    cdl_tensor *initial = NULL;
    TRY(cdl_tensor_new(CDL_F32, dims, rank, NULL, 0, &initial)); /* NULL: zeros */
    float *elements = cdl_tensor_data_mut(initial);              /* ours alone still, so it may be written */
    uint32_t noise = 1;
    for (size_t i = 0; i < initial->bytes / sizeof(float); i++) {
        noise = noise * 1664525u + 1013904223u;
        elements[i] = spread * ((float)(noise >> 8) / 8388608.0f - 1.0f);
    }
    TRY(cdl_graph_state(graph, S(name), CDL_PARAMETER, initial, value));
done:
    cdl_tensor_free(initial); /* the graph holds the elements on its own */
    return err;
}

/* One hidden layer: logits = tanh(x @ w1 + b1) @ w2 + b2; `values` gets x, y, the four parameters, the logits. */
static cdl_error *network(cdl_graph *graph, uint32_t values[7]) {
    cdl_error *err = NULL;
    uint32_t *x = &values[0], *y = &values[1], *p = &values[2], v;
    TRY(cdl_graph_input(graph, S("x"), S("float32[batch, 2]"), x)); /* any batch: the graph is made once */
    TRY(cdl_graph_input(graph, S("y"), S("int32[batch]"), y));
    TRY(parameter(graph, "hidden/kernel", (int64_t[]){2, HIDDEN}, 2, 1.0f, &p[0]));
    TRY(parameter(graph, "hidden/bias", (int64_t[]){HIDDEN}, 1, 0.0f, &p[1]));
    TRY(parameter(graph, "output/kernel", (int64_t[]){HIDDEN, 2}, 2, 0.5f, &p[2]));
    TRY(parameter(graph, "output/bias", (int64_t[]){2}, 1, 0.0f, &p[3]));
    TRY(apply(graph, "matmul", "", (uint32_t[]){*x, p[0]}, 2, &v));
    TRY(apply(graph, "add", "", (uint32_t[]){v, p[1]}, 2, &v));
    TRY(apply(graph, "tanh", "", &v, 1, &v));
    TRY(apply(graph, "matmul", "", (uint32_t[]){v, p[2]}, 2, &v));
    TRY(apply(graph, "add", "", (uint32_t[]){v, p[3]}, 2, &values[6]));
done:
    return err;
}

/* The program: `predict` gives probabilities, `train_step` a loss, and makes Adam's step. */
static cdl_error *build(cdl_program **program) {
    cdl_error *err = NULL;
    cdl_graph *graph = NULL;
    cdl_op *adam = NULL;
    cdl_tensor *rate = NULL;
    uint32_t values[7], grads[4], loss, probabilities, predict, step;
    TRY(cdl_graph_new(&graph));
    TRY(network(graph, values));
    TRY(apply(graph, "softmax", "{\"axis\": -1}", &values[6], 1, &probabilities));
    TRY(apply(graph, "softmax_cross_entropy", "", (uint32_t[]){values[6], values[1]}, 2, &loss));
    TRY(apply(graph, "mean", "", &loss, 1, &loss));
    TRY(cdl_graph_grad(graph, loss, &values[2], 4, grads)); /* the gradients are more nodes of the same graph */
    TRY(cdl_graph_function(graph, S("predict"), (const char *[]){"output"}, &probabilities, 1, S(""), &predict));
    TRY(cdl_graph_function(graph, S("train_step"), (const char *[]){"loss"}, &loss, 1,
                           S("{\"doc\": \"One step of Adam.\", \"inputs\": [\"x\", \"y\"]}"), &step));
    TRY(cdl_op_new(S("adam"), S(""), &adam));
    TRY(cdl_tensor_new(CDL_F32, NULL, 0, &(float){0.05f}, sizeof(float), &rate));
    TRY(cdl_graph_optimize(graph, step, S("optimizer"), adam, rate, grads, &values[2], 4));
    TRY(cdl_program_new((const cdl_graph *[]){graph}, 1, S("{\"problem\": \"exclusive or\"}"), program));
done:
    cdl_tensor_free(rate);
    cdl_op_free(adam);
    cdl_graph_free(graph);
    return err;
}

/* Trains a program for some steps and saves it with the state that it then has, the optimizer's too. */
static cdl_error *train(const cdl_program *program, const char *path, long steps) {
    static const float x[EXAMPLES][2] = {{0, 0}, {0, 1}, {1, 0}, {1, 1}};
    static const int32_t y[EXAMPLES] = {0, 1, 1, 0};
    cdl_error *err = NULL;
    cdl_session *session = NULL;
    cdl_program *snapshot = NULL;
    cdl_tensor *inputs[2] = {NULL, NULL}, *loss = NULL;
    const cdl_function *train_step = NULL; /* borrowed from the session */
    TRY(cdl_program_session(program, NULL, 0, NULL, &session));
    TRY(cdl_session_function(session, S("train_step"), &train_step));
    TRY(cdl_tensor_new(CDL_F32, (int64_t[]){EXAMPLES, 2}, 2, x, sizeof x, &inputs[0]));
    TRY(cdl_tensor_new(CDL_I32, (int64_t[]){EXAMPLES}, 1, y, sizeof y, &inputs[1]));
    for (long i = 0; i < steps; i++) {
        TRY(cdl_function_run(train_step, (const cdl_tensor *const *)inputs, 2, NULL, &loss, 1, NULL));
        printf("%a\n", (double)*(const float *)loss->data);
        cdl_tensor_free(loss);
        loss = NULL;
    }
    TRY(cdl_session_snapshot(session, &snapshot));
    TRY(cdl_program_save(snapshot, S(path)));
done:
    cdl_tensor_free(loss);
    cdl_tensor_free(inputs[0]);
    cdl_tensor_free(inputs[1]);
    cdl_program_free(snapshot);
    cdl_session_free(session);
    return err;
}

int main(int argc, char **argv) {
    cdl_error *err = NULL;
    cdl_program *fresh = NULL, *opened = NULL;
    const char *command = argc == 4 ? argv[2] : "both";
    const long steps = argc == 4 ? strtol(argv[3], NULL, 10) : 100;
    const int trains = strcmp(command, "train") == 0, resumes = strcmp(command, "resume") == 0;
    if ((argc != 2 && argc != 4) || (argc == 4 && !trains && !resumes)) {
        fprintf(stderr, "usage: perceptron FILE [train STEPS | resume STEPS]\n");
        return 2;
    }
    if (!resumes) {
        TRY(build(&fresh));
        TRY(train(fresh, argv[1], steps));
    }
    if (!trains) {
        TRY(cdl_program_open(S(argv[1]), NULL, 0, NULL, &opened));
        TRY(train(opened, argv[1], steps));
    }
done:
    if (err) fprintf(stderr, "error: %s [code %d]\n", err->message, err->code);
    const int status = err ? EXIT_FAILURE : EXIT_SUCCESS;
    cdl_error_free(err);
    cdl_program_free(opened);
    cdl_program_free(fresh);
    return status;
}
