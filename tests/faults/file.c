/* `file write PATH VALUE` saves a program whose state is all VALUE; `file read PATH` opens one and prints its state.
 * A call of access(2) with a name of its own, which a tracer sees, comes right before. On an error the message is
 * printed and the status is 3.
 */
#include "../c/support.h"

#include <unistd.h>

static int refused(cdl_error *error) {
    if (!error) return 0;
    printf("%s\n", error->message);
    cdl_error_free(error);
    return 3;
}

static cdl_program *filled_with(float value) {
    cdl_graph *graph = NULL;
    OK(cdl_graph_new(&graph));
    uint32_t w = state(graph, "w", (int64_t[]){4096}, 1, value), b = state(graph, "b", (int64_t[]){3}, 1, value);
    uint32_t outputs[2] = {apply(graph, "neg", "", &w, 1), apply(graph, "neg", "", &b, 1)};
    function(graph, "predict", NAMES("w", "b"), outputs, 2, "");
    return program_of(graph);
}

int main(int count, char **arguments) {
    if (count == 4 && strcmp(arguments[1], "write") == 0) {
        cdl_program *program = filled_with((float)atof(arguments[3]));
        CHECK(access("the save begins", F_OK) != 0);
        int status = refused(cdl_program_save(program, S(arguments[2])));
        cdl_program_free(program);
        return status ? status : done();
    }
    if (count == 3 && strcmp(arguments[1], "read") == 0) {
        cdl_program *program = NULL;
        cdl_tensor *w = NULL;
        CHECK(access("the open begins", F_OK) != 0);
        int status = refused(cdl_program_open(S(arguments[2]), NULL, 0, NULL, &program));
        if (status) return status;
        OK(cdl_program_state(program, S("w"), &w));
        printf("%g\n", *(const float *)w->data);
        cdl_tensor_free(w);
        cdl_program_free(program);
        return done();
    }
    return 2;
}
