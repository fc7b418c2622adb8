/* Every kind of error: its code and its whole message, and that outputs are untouched. */
#include "support.h"

static void null_handles(void) {
    uint32_t value = 7;
    cdl_tensor *tensor = NULL;
    cdl_graph *graph = NULL;
    FAILS_AT(CDL_ARGUMENT, "out is NULL", "out", cdl_graph_new(NULL));
    FAILS_AT(CDL_ARGUMENT, "graph is NULL", "graph", cdl_graph_input(NULL, S("x"), S("float32[]"), &value));
    FAILS_AT(CDL_ARGUMENT, "session is NULL", "session", cdl_session_state(NULL, S("w"), &tensor));
    FAILS_AT(CDL_ARGUMENT, "session is NULL", "session", cdl_session_close(NULL));
    FAILS_AT(CDL_ARGUMENT, "program is NULL", "program", cdl_program_session(NULL, NULL, 0, NULL, NULL));
    FAILS_AT(CDL_ARGUMENT, "function is NULL", "function", cdl_function_run(NULL, NULL, 0, NULL, NULL, 0, NULL));
    FAILS_AT(CDL_ARGUMENT, "op is NULL", "op", cdl_eager(NULL, NULL, 0, NULL, NULL, 0, NULL));
    FAILS_AT(CDL_ARGUMENT, "dims is NULL", "dims", cdl_tensor_new(CDL_F32, NULL, 2, NULL, 0, &tensor));
    FAILS_AT(CDL_ARGUMENT, "initial is NULL", "initial", cdl_variable_new(NULL, &(cdl_variable *){NULL}));
    OK(cdl_graph_new(&graph));
    FAILS_AT(CDL_ARGUMENT, "name is NULL", "name", cdl_graph_input(graph, NULL, CDL_NUL, S("float32[]"), &value));
    CHECK(value == 7 && tensor == NULL);
    CHECK(cdl_function_spec(NULL, CDL_INPUT, 0, NULL) == NULL && cdl_tensor_data_mut(NULL) == NULL);
    cdl_graph_free(graph);
}

static void null_frees(void) {
    for (int twice = 0; twice < 2; twice++) {
        cdl_error_free(NULL);
        cdl_tensor_free(NULL);
        cdl_bytes_free(NULL);
        cdl_op_free(NULL);
        cdl_graph_free(NULL);
        cdl_program_free(NULL);
        cdl_session_free(NULL);
        cdl_call_free(NULL);
        cdl_variable_free(NULL);
        cdl_limits_free(NULL);
        cdl_limits_cancel(NULL);
        cdl_dealloc(NULL, 10);
    }
}

static void tensors(void) {
    static const float data[3];
    cdl_tensor *tensor = NULL;
    FAILS(CDL_DTYPE, "there is no dtype 99", cdl_tensor_new(99, NULL, 0, data, 4, &tensor));
    FAILS(CDL_SHAPE, "the dim -2 is not a size", cdl_tensor_new(CDL_F32, (int64_t[]){-2}, 1, data, 4, &tensor));
    FAILS(CDL_ARGUMENT, "float32 of shape [2] takes 8 bytes, 12 were given",
          cdl_tensor_new(CDL_F32, (int64_t[]){2}, 1, data, 12, &tensor));
    FAILS(CDL_MEMORY, "a float32 tensor of shape [1000000000000000000, 1000] is larger than memory can be",
          cdl_tensor_new(CDL_F32, (int64_t[]){1000000000000000000, 1000}, 2, NULL, 0, &tensor));
    FAILS(CDL_MEMORY, "the system has no 4000000000000000 bytes of memory",
          cdl_tensor_new(CDL_F32, (int64_t[]){1000000000000000}, 1, NULL, 0, &tensor));
    CHECK(tensor == NULL);
}

static void ops(void) {
    cdl_op *op = NULL, *add = NULL;
    size_t count = 77;
    cdl_tensor *out = NULL, *a = filled((int64_t[]){2, 3}, 2, 1), *b = filled((int64_t[]){4}, 1, 1);
    FAILS(CDL_NAME, "there is no op \"ad\"", cdl_op_new(S("ad"), NULL, 0, &op));
    FAILS(CDL_FORMAT, "softmax: JSON: EOF while parsing a value at line 1 column 9",
          cdl_op_new(S("softmax"), S("{\"axis\": "), &op));
    FAILS(CDL_ARGUMENT, "softmax: attrs is not a JSON object", cdl_op_new(S("softmax"), S("[1]"), &op));
    FAILS(CDL_ARGUMENT, "softmax: attrs has no \"axes\"; there are: axis",
          cdl_op_new(S("softmax"), S("{\"axes\": 1}"), &op));
    FAILS(CDL_ARGUMENT, "softmax: axis takes an integer, not \"last\"", cdl_op_new(S("softmax"), S("{\"axis\": \"last\"}"), &op));
    FAILS(CDL_ARGUMENT, "reshape: the attr shape is required", cdl_op_new(S("reshape"), NULL, 0, &op));
    FAILS(CDL_ARGUMENT, "name is not UTF-8", cdl_op_new("\xff", 1, NULL, 0, &op));
    CHECK(op == NULL);
    OK(cdl_op_new(S("add"), NULL, 0, &add));
    FAILS(CDL_SHAPE, "add: shapes [2, 3] and [4] cannot be broadcast together",
          cdl_eager(add, TENSORS(a, b), 2, NULL, &out, 1, &count));
    FAILS(CDL_ARGUMENT, "add: the input y is missing", cdl_eager(add, TENSORS(a), 1, NULL, &out, 1, &count));
    FAILS(CDL_ARGUMENT, "add: the input y is missing", cdl_eager(add, TENSORS(a, NULL), 2, NULL, &out, 1, &count));
    FAILS(CDL_ARGUMENT, "outputs has room for 0 tensors, there are 1",
          cdl_eager(add, TENSORS(a, a), 2, NULL, NULL, 0, &count));
    CHECK(out == NULL && count == 77);
    cdl_op_free(add);
    cdl_tensor_free(a);
    cdl_tensor_free(b);
}

static void graphs(void) {
    cdl_graph *graph = NULL;
    cdl_op *matmul = NULL;
    uint32_t value = 7, id = 7;
    size_t count = 7;
    OK(cdl_graph_new(&graph));
    uint32_t x = input(graph, "x", "float32[batch, 2]"), y = input(graph, "y", "float32[3, 4]");
    cdl_tensor *zero = filled(NULL, 0, 0);
    FAILS(CDL_ARGUMENT, "two inputs are named \"x\"", cdl_graph_input(graph, S("x"), S("float32[]"), &value));
    FAILS(CDL_ARGUMENT, "input name \"no name\" is not [A-Za-z_][A-Za-z0-9_]*",
          cdl_graph_input(graph, S("no name"), S("float32[]"), &value));
    FAILS(CDL_DTYPE,
          "no dtype is named \"float99\"; there are bool, int8, int16, int32, int64, uint8, uint16, uint32, uint64, "
          "float16, bfloat16, float32, float64",
          cdl_graph_input(graph, S("z"), S("float99[]"), &value));
    FAILS_AT(CDL_ARGUMENT, "there is no such role", "role", cdl_graph_state(graph, S("s"), 9, zero, &value));
    OK(cdl_op_new(S("matmul"), NULL, 0, &matmul));
    OK(cdl_graph_location(graph, S("model.c"), 41));
    FAILS(CDL_SHAPE,
          "matmul: x [batch, 2] times y [3, 4]: the last dim of x is 2, the last but one dim of y is 3 (model.c:41)",
          cdl_graph_apply(graph, matmul, NULL, 0, VALUES(x, y), 2, &value, &count));
    FAILS(CDL_ARGUMENT, "matmul: %99 is not a value of this graph, which has 2 (model.c:41)",
          cdl_graph_apply(graph, matmul, NULL, 0, VALUES(x, 99), 2, &value, &count));
    cdl_error *error = cdl_graph_apply(graph, matmul, NULL, 0, VALUES(x, y), 2, &value, &count);
    CHECK(error && error->op && strcmp(error->op, "matmul") == 0);
    CHECK(error && error->file && strcmp(error->file, "model.c") == 0 && error->line == 41);
    cdl_error_free(error);
    FAILS(CDL_SHAPE, "grad: the loss is float32[batch, 2], not a scalar; reduce it, for example by mean",
          cdl_graph_grad(graph, x, &y, 1, &value));
    FAILS(CDL_ARGUMENT, "%99 is not a value of this graph, which has 2",
          cdl_graph_function(graph, S("f"), NAMES("o"), VALUES(99), 1, NULL, 0, &id));
    FAILS(CDL_NAME, "no input is named \"q\"",
          cdl_graph_function(graph, S("f"), NAMES("o"), &x, 1, S("{\"inputs\": [\"q\"]}"), &id));
    FAILS(CDL_ARGUMENT, "there is no function 5", cdl_graph_training(graph, 5, NULL, NULL, 0));
    FAILS_AT(CDL_ARGUMENT, "matmul is not a schedule", "schedule", cdl_graph_schedule(graph, S("optimizer"), matmul));
    CHECK(value == 7 && id == 7 && count == 7);
    cdl_tensor_free(zero);
    cdl_op_free(matmul);
    cdl_graph_free(graph);
}

static void files(void) {
    cdl_program *program = classifier(), *read = NULL;
    cdl_bytes *bytes = NULL;
    OK(cdl_program_write(program, &bytes));
    char *copy = malloc(bytes->len + 1);
    memcpy(copy, bytes->data, bytes->len);
    FAILS(CDL_FORMAT, "the data is cut short: 4033 bytes of 8066", cdl_program_read(copy, bytes->len / 2, NULL, &read));
    FAILS(CDL_FORMAT, "the data is not a caudal file: it has 5 bytes", cdl_program_read(copy, 5, NULL, &read));
    FAILS(CDL_FORMAT, "the data is not a caudal file: it has 0 bytes", cdl_program_read("", 0, NULL, &read));
    FAILS(CDL_FORMAT, "the data is not a caudal file: it begins with \"<!DOCTYP\"",
          cdl_program_read("<!DOCTYPE html><html></html>", 28, NULL, &read));
    char *version = strstr(copy + 8, "sha256:");
    CHECK(version != NULL);
    if (version) {
        /* "sha256:" and 64 digits */
        enum { DIGEST = 71 };
        char right[DIGEST + 1] = {0}, message[300];
        memcpy(right, version, DIGEST);
        version[7] = version[7] == '0' ? '1' : '0';
        snprintf(message, sizeof message,
                 "the data is not a caudal file: caudal.graph is damaged: its digest is %s, the file says \"%.*s\"", right,
                 DIGEST, version);
        FAILS(CDL_FORMAT, message, cdl_program_read(copy, bytes->len, NULL, &read));
    }
    FAILS(CDL_IO, "cannot open /no/such.caudal: No such file or directory (os error 2)",
          cdl_program_open(S("/no/such.caudal"), NULL, 0, NULL, &read));
    FAILS(CDL_IO, "cannot save /no/such/place.caudal: No such file or directory (os error 2)",
          cdl_program_save(program, S("/no/such/place.caudal")));
    FAILS(CDL_ARGUMENT, "options has no \"mmap\"; there are: map",
          cdl_program_open(S("x"), S("{\"mmap\": true}"), NULL, &read));
    FAILS_AT(CDL_ARGUMENT, "options: map is neither true nor false", "options",
             cdl_program_open(S("x"), S("{\"map\": 1}"), NULL, &read));
    FILE *file = fopen("foreign.caudal", "wb");
    fputs("PK\3\4 a zip archive, say; nothing that anyone could run", file);
    fclose(file);
    FAILS(CDL_FORMAT, "foreign.caudal is not a caudal file: its header would take 8800140462016121680 bytes",
          cdl_program_open(S("foreign.caudal"), NULL, 0, NULL, &read));
    CHECK(read == NULL);
    FAILS_AT(CDL_ARGUMENT, "there is no format 9", "format", cdl_program_info(program, 9, &(cdl_bytes *){NULL}));
    FAILS(CDL_NAME, "no function is named \"nothing\"; there are: predict, train_step, gradients, apply",
          cdl_program_select(program, NAMES("nothing"), 1, &read));
    FAILS(CDL_NAME,
        "no state is named \"nothing\"; there are: w, optimizer/learning_rate, optimizer/step, optimizer/m/w, optimizer/v/w",
        cdl_program_state(program, S("nothing"), &(cdl_tensor *){NULL}));
    free(copy);
    cdl_bytes_free(bytes);
    cdl_program_free(program);
}

static void sessions(void) {
    cdl_program *program = classifier();
    cdl_session *none = NULL;
    FAILS(CDL_DEVICE, "there is no device \"none\"; a device is cpu, gpu:0, ... or auto",
          cdl_program_session(program, S("{\"device\": \"none\"}"), NULL, &none));
    FAILS(CDL_ARGUMENT, "options has no \"dvice\"; there are: device, strict, debug",
          cdl_program_session(program, S("{\"dvice\": \"cpu\"}"), NULL, &none));
    FAILS(CDL_ARGUMENT, "options: debug is neither true nor false",
          cdl_program_session(program, S("{\"debug\": 1}"), NULL, &none));
    CHECK(none == NULL);
    cdl_session *session = session_of(program);
    const cdl_function *step = function_of(session, "train_step"), *missing = NULL;
    cdl_tensor *x = filled((int64_t[]){4, 2}, 2, 1), *y = NULL, *w = filled((int64_t[]){3, 2}, 2, 0), *out = NULL;
    cdl_tensor *flat = filled((int64_t[]){2}, 1, 1), *thin = filled((int64_t[]){4, 3}, 2, 1);
    OK(cdl_tensor_new(CDL_I32, (int64_t[]){4}, 1, NULL, 0, &y));
    FAILS(CDL_NAME, "no function is named \"fit\"; there are: predict, train_step, gradients, apply",
          cdl_session_function(session, S("fit"), &missing));
    FAILS(CDL_ARGUMENT, "train_step: 1 inputs were given, it takes 2: x, y",
          cdl_function_run(step, TENSORS(x), 1, NULL, &out, 1, NULL));
    FAILS_AT(CDL_ARGUMENT, "inputs is NULL", "inputs",
             cdl_function_run(step, TENSORS(x, NULL), 2, NULL, &out, 1, NULL));
    FAILS_AT(CDL_DTYPE, "train_step: x is int32[4], expected float32[batch, 2]; cast it to float32", "x",
             cdl_function_run(step, TENSORS(y, y), 2, NULL, &out, 1, NULL));
    FAILS_AT(CDL_SHAPE, "train_step: x is float32[2], expected float32[batch, 2]; add a leading dimension", "x",
             cdl_function_run(step, TENSORS(flat, y), 2, NULL, &out, 1, NULL));
    FAILS_AT(CDL_SHAPE, "train_step: x is float32[4, 3], expected float32[batch, 2]: axis 1 is 3, expected 2", "x",
             cdl_function_run(step, TENSORS(thin, y), 2, NULL, &out, 1, NULL));
    FAILS_AT(CDL_ARGUMENT, "train_step: it has 1 outputs, there is room for 2", "outputs",
             cdl_function_run(step, TENSORS(x, y), 2, NULL, (cdl_tensor *[2]){0}, 2, NULL));
    FAILS_AT(CDL_ARGUMENT, "train_step: outputs is NULL", "outputs",
             cdl_function_run(step, TENSORS(x, y), 2, NULL, NULL, 1, NULL));
    cdl_tensor *fits = filled((int64_t[]){2, 3}, 2, 9);
    FAILS(
        CDL_NAME,
        "no state is named \"v\"; there are: w, optimizer/learning_rate, optimizer/step, optimizer/m/w, optimizer/v/w",
        cdl_session_set_state(session, NAMES("w", "v"), TENSORS(fits, fits), 2));
    cdl_tensor_free(fits);
    FAILS_AT(CDL_SHAPE, "w is float32[2, 3], the new value is float32[3, 2]", "w",
             cdl_session_set_state(session, NAMES("w"), TENSORS(w), 1));
    FAILS(CDL_ARGUMENT, "give the dim batch, as in {\"batch\": 32}",
          cdl_function_plan(step, NULL, 0, &(cdl_bytes *){NULL}));
    cdl_bytes *explained = NULL;
    FAILS(CDL_ARGUMENT, "function is NULL", cdl_function_explain(NULL, &explained));
    OK(cdl_function_explain(step, &explained));
    CHECK(strstr((const char *)explained->data, " = fused(") != NULL);
    cdl_bytes_free(explained);
    CHECK(out == NULL && missing == NULL && state_of(session, "w") == 0.5f);
    OK(cdl_function_run(step, TENSORS(x, y), 2, NULL, &out, 1, NULL));
    OK(cdl_session_close(session));
    OK(cdl_session_close(session));
    cdl_tensor *late = NULL;
    FAILS(CDL_CLOSED, "the session is closed", cdl_function_run(step, TENSORS(x, y), 2, NULL, &late, 1, NULL));
    FAILS(CDL_CLOSED, "the session is closed", cdl_session_state(session, S("w"), &late));
    CHECK(late == NULL);
    cdl_tensor_free(out);
    cdl_tensor_free(x);
    cdl_tensor_free(y);
    cdl_tensor_free(w);
    cdl_tensor_free(flat);
    cdl_tensor_free(thin);
    cdl_session_free(session);
    cdl_program_free(program);
}

/* A checked session: labels that no class has, with the line of the op; the state is as before, and it goes on. */
static void checked(void) {
    cdl_program *program = classifier();
    cdl_session *session = NULL, *plain = session_of(program);
    OK(cdl_program_session(program, S("{\"debug\": true}"), NULL, &session));
    const cdl_function *step = function_of(session, "train_step");
    cdl_tensor *x = filled((int64_t[]){4, 2}, 2, 1), *y = NULL, *out = NULL;
    OK(cdl_tensor_new(CDL_I32, (int64_t[]){4}, 1, (int32_t[]){0, 2, -3, 3}, 16, &y));
    FAILS_AT(CDL_INDEX,
             "softmax_cross_entropy: label 3 at [3] is out of bounds for axis 1 of size 3 (model.c:12)", "labels",
             cdl_function_run(step, TENSORS(x, y), 2, NULL, &out, 1, NULL));
    CHECK(out == NULL && state_of(session, "w") == 0.5f);
    ((int32_t *)cdl_tensor_data_mut(y))[3] = 1;
    cdl_tensor *same = NULL;
    OK(cdl_function_run(step, TENSORS(x, y), 2, NULL, &out, 1, NULL));
    OK(cdl_function_run(function_of(plain, "train_step"), TENSORS(x, y), 2, NULL, &same, 1, NULL));
    CHECK(*(const float *)out->data == *(const float *)same->data && state_of(session, "w") == state_of(plain, "w"));
    cdl_tensor_free(out);
    cdl_tensor_free(same);
    cdl_tensor_free(x);
    cdl_tensor_free(y);
    cdl_session_free(session);
    cdl_session_free(plain);
    cdl_program_free(program);
}

/* Sizes that only a run knows: the message names the dim, the op and the line. */
static void windows(void) {
    cdl_graph *graph = NULL;
    cdl_op *pool = NULL;
    uint32_t value = 7;
    size_t count = 7;
    OK(cdl_graph_new(&graph));
    uint32_t x = input(graph, "x", "float32[batch, height, 4, 1]"), small = input(graph, "small", "float32[1, 2, 4, 1]");
    OK(cdl_op_new(S("max_pool"), S("{\"window\": [3]}"), &pool));
    OK(cdl_graph_location(graph, S("model.c"), 3));
    FAILS(CDL_SHAPE,
          "max_pool: spatial axis 0 has 2 elements with padding, fewer than the 3 that the window spans (model.c:3)",
          cdl_graph_apply(graph, pool, NULL, 0, &small, 1, &value, &count));
    OK(cdl_graph_apply(graph, pool, NULL, 0, &x, 1, &value, &count));
    function(graph, "f", NAMES("output"), &value, 1, "{\"inputs\": [\"x\"]}");
    FAILS(CDL_ARGUMENT, "two functions are named \"f\"",
          cdl_graph_function(graph, S("f"), NAMES("output"), &value, 1, NULL, 0, &value));
    cdl_program *program = program_of(graph);
    cdl_session *session = session_of(program);
    cdl_tensor *image = filled((int64_t[]){1, 2, 4, 1}, 4, 1), *out = NULL;
    FAILS(CDL_SHAPE, "max_pool: height = 2, it must be at least 3 (model.c:3)",
          cdl_function_run(function_of(session, "f"), TENSORS(image), 1, NULL, &out, 1, NULL));
    CHECK(out == NULL);
    cdl_op_free(pool);
    cdl_tensor_free(image);
    cdl_session_free(session);
    cdl_program_free(program);
}

/* Limits say how much of what; state and weights of another shape change nothing. */
static void spent(void) {
    cdl_program *program = classifier(), *other = NULL;
    cdl_session *session = session_of(program);
    const cdl_function *predict = function_of(session, "predict");
    cdl_tensor *x = filled((int64_t[]){1000, 2}, 2, 1), *y = NULL, *out = NULL;
    cdl_limits *memory = NULL, *cancelled = NULL;
    OK(cdl_limits_new(10000, 0, &memory));
    OK(cdl_limits_new(0, 0, &cancelled));
    FAILS(CDL_MEMORY, NULL, cdl_function_run(predict, TENSORS(x), 1, memory, &out, 1, NULL));
    cdl_limits_cancel(cancelled);
    FAILS(CDL_CANCELLED, "predict: the call was cancelled",
          cdl_function_run(predict, TENSORS(x), 1, cancelled, &out, 1, NULL));
    OK(cdl_tensor_new(CDL_I32, (int64_t[]){999}, 1, NULL, 0, &y));
    FAILS_AT(CDL_SHAPE, "train_step: y is int32[999], expected int32[batch]: axis 0 is 999, expected batch = 1000", "y",
             cdl_function_run(function_of(session, "train_step"), TENSORS(x, y), 2, NULL, &out, 1, NULL));
    CHECK(out == NULL);
    cdl_graph *graph = NULL;
    OK(cdl_graph_new(&graph));
    uint32_t w = state(graph, "w", (int64_t[]){3}, 1, 1);
    w = apply(graph, "neg", "", &w, 1);
    function(graph, "f", NAMES("output"), &w, 1, "");
    other = program_of(graph);
    FAILS_AT(CDL_SHAPE, "w is float32[2, 3], the new value is float32[3]", "w", cdl_session_restore(session, other, 0));
    FAILS(CDL_NAME, "the program has no state \"optimizer/learning_rate\"", cdl_session_restore(session, other, 1));
    CHECK(state_of(session, "w") == 0.5f);
    cdl_limits_free(memory);
    cdl_limits_free(cancelled);
    cdl_tensor_free(x);
    cdl_tensor_free(y);
    cdl_session_free(session);
    cdl_program_free(program);
    cdl_program_free(other);
}

int main(void) {
    null_handles();
    null_frees();
    tensors();
    ops();
    graphs();
    files();
    sessions();
    checked();
    windows();
    spent();
    return done();
}
