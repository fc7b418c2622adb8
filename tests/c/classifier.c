/* Writes the program that the tests of train.c go on training: `classifier FILE`. */
#include "support.h"

int main(int argc, char **argv) {
    cdl_graph *graph = NULL;
    cdl_op *adam = NULL;
    if (argc != 2) return 2;
    OK(cdl_graph_new(&graph));
    uint32_t x = input(graph, "x", "float32[batch, 2]"), y = input(graph, "y", "int32[batch]"), grads[2];
    uint32_t p[2] = {state(graph, "kernel", (int64_t[]){2, 3}, 2, 0), state(graph, "bias", (int64_t[]){3}, 1, 0)};
    uint32_t logits = apply(graph, "add", "", VALUES(apply(graph, "matmul", "", VALUES(x, p[0]), 2), p[1]), 2);
    uint32_t losses = apply(graph, "softmax_cross_entropy", "", VALUES(logits, y), 2);
    uint32_t best = apply(graph, "argmax", "{\"axis\": -1}", &logits, 1);
    uint32_t right = apply(graph, "equal", "", VALUES(best, apply(graph, "cast", "{\"dtype\": \"int64\"}", &y, 1)), 2);
    right = apply(graph, "cast", "{\"dtype\": \"float32\"}", &right, 1);
    uint32_t outputs[2] = {apply(graph, "mean", "", &losses, 1), apply(graph, "mean", "", &right, 1)};
    OK(cdl_graph_grad(graph, outputs[0], p, 2, grads));
    /* Alphabetical in one and not in the other: outputs are found by name. */
    function(graph, "evaluate", NAMES("accuracy", "loss"), VALUES(outputs[1], outputs[0]), 2,
             "{\"inputs\": [\"x\", \"y\"]}");
    uint32_t step =
        function(graph, "train_step", NAMES("loss", "accuracy"), outputs, 2, "{\"inputs\": [\"x\", \"y\"]}");
    OK(cdl_op_new(S("adam"), NULL, 0, &adam));
    cdl_tensor *rate = filled(NULL, 0, 0.1f);
    OK(cdl_graph_optimize(graph, step, S("optimizer"), adam, rate, grads, p, 2));
    cdl_tensor_free(rate);
    cdl_op_free(adam);
    cdl_program *program = program_of(graph);
    OK(cdl_program_save(program, S(argv[1])));
    cdl_program_free(program);
    return done();
}
