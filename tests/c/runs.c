/* What runs promise: whole versions of the state, pieces, limits, cells that sessions share. `runs CHECK` runs one. */
#include "support.h"

#include <pthread.h>

enum { WIDTH = 1000, READERS = 4, STEPS = 300 };

typedef struct {
    const cdl_session *session;
    volatile int *stop;
    int calls, mixed, backward, failed;
} reader;

static void *read_on(void *argument) {
    reader *self = argument;
    const cdl_function *both = function_of(self->session, "both");
    float before = -1;
    while (!*self->stop || self->calls == 0) {
        cdl_tensor *out[2] = {NULL, NULL};
        cdl_error *error = cdl_function_run(both, NULL, 0, NULL, out, 2, NULL);
        if (error) {
            self->failed++;
            cdl_error_free(error);
            break;
        }
        const float *a = out[0]->data, *b = out[1]->data;
        for (int i = 0; i < WIDTH; i++) self->mixed += a[i] != a[0] || b[i] != a[0] + 1;
        self->backward += a[0] < before;
        before = a[0];
        self->calls++;
        cdl_tensor_free(out[0]);
        cdl_tensor_free(out[1]);
    }
    return NULL;
}

/* Two states that a step counts up, b one ahead of a: readers beside it never see one without the other. */
static void threads(void) {
    cdl_graph *graph = NULL;
    OK(cdl_graph_new(&graph));
    const int64_t dims[] = {WIDTH};
    uint32_t s[2] = {state(graph, "a", dims, 1, 0), state(graph, "b", dims, 1, 1)};
    uint32_t one = constant(graph, filled(NULL, 0, 1)), zero = constant(graph, filled(NULL, 0, 0));
    uint32_t next[2] = {apply(graph, "add", "", VALUES(s[0], one), 2), apply(graph, "add", "", VALUES(s[1], one), 2)};
    uint32_t seen[2] = {apply(graph, "maximum", "", VALUES(s[0], zero), 2),
                        apply(graph, "maximum", "", VALUES(s[1], zero), 2)};
    function(graph, "both", NAMES("a", "b"), seen, 2, "");
    uint32_t step = function(graph, "step", NULL, NULL, 0, "");
    OK(cdl_graph_update(graph, step, s, next, 2));
    cdl_program *program = program_of(graph);
    cdl_session *session = session_of(program);
    pthread_t ids[READERS];
    reader readers[READERS];
    volatile int stop = 0;
    for (int i = 0; i < READERS; i++) {
        readers[i] = (reader){.session = session, .stop = &stop};
        CHECK(pthread_create(&ids[i], NULL, read_on, &readers[i]) == 0);
    }
    for (int i = 0; i < STEPS; i++) OK(cdl_function_run(function_of(session, "step"), NULL, 0, NULL, NULL, 0, NULL));
    nap(0.02);
    stop = 1;
    for (int i = 0; i < READERS; i++) {
        pthread_join(ids[i], NULL);
        CHECK(readers[i].calls > 0 && !readers[i].mixed && !readers[i].backward && !readers[i].failed);
    }
    CHECK(state_of(session, "a") == STEPS && state_of(session, "b") == STEPS + 1);
    cdl_session_free(session);
    cdl_program_free(program);
}

/* A long run comes back after about 25 ms, goes on, and gives what one in a single piece gives. */
static void pieces(void) {
    cdl_program *program = counter();
    cdl_session *session = session_of(program);
    const cdl_function *count = function_of(session, "count");
    cdl_tensor *out = NULL, *few = integer(10), *times = NULL;
    cdl_call *rest = (cdl_call *)&out; /* anything but NULL */
    OK(cdl_function_run(count, TENSORS(few), 1, NULL, &out, 1, &rest));
    CHECK(rest == NULL && out && *(const float *)out->data == 10);
    cdl_tensor_free(out);
    out = NULL;
    /* More steps until they take longer than one piece. */
    float total = 10;
    for (int64_t n = 10000; rest == NULL && n < 10000000; n *= 2) {
        cdl_tensor_free(times);
        cdl_tensor_free(out);
        out = NULL;
        times = integer(n);
        OK(cdl_function_run(count, TENSORS(times), 1, NULL, &out, 1, &rest));
        total += (float)n;
    }
    CHECK(rest != NULL && out == NULL);
    /* That one may be about to end. One four times as long is not, after its first piece. */
    float steps = (float)*(const int64_t *)times->data;
    cdl_call_free(rest);
    cdl_tensor_free(times);
    times = integer(4 * (int64_t)steps);
    OK(cdl_function_run(count, TENSORS(times), 1, NULL, &out, 1, &rest));
    CHECK(rest != NULL && out == NULL);
    total -= steps;
    CHECK(state_of(session, "total") == total);
    total += 4 * steps;
    int32_t finished = 7, resumed = 0;
    FAILS_AT(CDL_ARGUMENT, "count: it has 1 outputs, there is room for 0", "outputs",
             cdl_call_resume(rest, 0.01, NULL, 0, &finished));
    CHECK(finished == 7);
    do {
        CHECK(out == NULL);
        OK(cdl_call_resume(rest, 0.005, &out, 1, &finished));
        resumed++;
    } while (!finished);
    CHECK(resumed > 1 && out && *(const float *)out->data == total && state_of(session, "total") == total);
    FAILS(CDL_CLOSED, "the call has come to its end", cdl_call_resume(rest, 1, &out, 1, &finished));
    cdl_call_free(rest);
    cdl_tensor_free(out);
    cdl_tensor_free(few);
    cdl_tensor_free(times);
    cdl_session_free(session);
    cdl_program_free(program);
}

/* A call that is freed before its end leaves the state as it was, and the next one may write. */
static void dropped(void) {
    cdl_program *program = counter();
    cdl_session *session = session_of(program);
    const cdl_function *count = function_of(session, "count");
    cdl_tensor *out = NULL, *few = integer(3), *forever = integer(-1);
    cdl_call *rest = NULL;
    OK(cdl_function_run(count, TENSORS(few), 1, NULL, &out, 1, NULL));
    cdl_tensor_free(out);
    out = NULL;
    OK(cdl_function_run(count, TENSORS(forever), 1, NULL, &out, 1, &rest));
    CHECK(rest != NULL && out == NULL);
    cdl_call_free(rest);
    CHECK(state_of(session, "total") == 3);
    OK(cdl_function_run(count, TENSORS(few), 1, NULL, &out, 1, NULL));
    CHECK(state_of(session, "total") == 6);
    cdl_tensor_free(out);
    cdl_tensor_free(few);
    cdl_tensor_free(forever);
    cdl_session_free(session);
    cdl_program_free(program);
}

static void *cancel_later(void *limits) {
    nap(0.05);
    cdl_limits_cancel(limits);
    return NULL;
}

/* An endless loop ends at its deadline, or when another thread cancels; memory is checked before it is taken. */
static void limits(void) {
    cdl_program *program = counter(), *classes = classifier();
    cdl_session *session = session_of(program), *small = NULL;
    const cdl_function *count = function_of(session, "count");
    cdl_tensor *out = NULL, *forever = integer(-1), *x = filled((int64_t[]){100000, 2}, 2, 1);
    cdl_limits *seconds = NULL, *cancelled = NULL, *memory = NULL, *wrong = NULL;
    OK(cdl_limits_new(0, 0.05, &seconds));
    FAILS(CDL_DEADLINE, "count: the call took longer than its limit in seconds",
          cdl_function_run(count, TENSORS(forever), 1, seconds, &out, 1, NULL));
    FAILS_AT(CDL_ARGUMENT, "seconds is -1", "seconds", cdl_limits_new(0, -1, &wrong));
    OK(cdl_limits_new(0, 0, &cancelled));
    pthread_t id;
    CHECK(pthread_create(&id, NULL, cancel_later, cancelled) == 0);
    FAILS(CDL_CANCELLED, "count: the call was cancelled",
          cdl_function_run(count, TENSORS(forever), 1, cancelled, &out, 1, NULL));
    pthread_join(id, NULL);
    FAILS(CDL_CANCELLED, "count: the call was cancelled",
          cdl_function_run(count, TENSORS(forever), 1, cancelled, &out, 1, NULL));
    CHECK(state_of(session, "total") == 0);
    OK(cdl_limits_new(100000, 0, &memory));
    OK(cdl_program_session(classes, NULL, 0, memory, &small));
    FAILS(CDL_MEMORY, NULL, cdl_function_run(function_of(small, "predict"), TENSORS(x), 1, NULL, &out, 1, NULL));
    cdl_op *add = NULL;
    cdl_limits *hundred = NULL;
    size_t made = 0;
    OK(cdl_op_new(S("add"), NULL, 0, &add));
    OK(cdl_limits_new(100, 0, &hundred));
    FAILS(CDL_MEMORY, "add: 800000 bytes more than the 0 in use pass the limit of 100 bytes",
          cdl_eager(add, TENSORS(x, x), 2, hundred, &out, 1, &made));
    cdl_op_free(add);
    cdl_limits_free(hundred);
    cdl_bytes *bytes = NULL;
    cdl_program *read = NULL;
    OK(cdl_program_write(classes, &bytes));
    cdl_limits *tiny = NULL;
    OK(cdl_limits_new(1000, 0, &tiny));
    FAILS(CDL_MEMORY, NULL, cdl_program_read(bytes->data, bytes->len, tiny, &read));
    CHECK(out == NULL && wrong == NULL && read == NULL);
    /* What others took is given back. */
    cdl_tensor *few = filled((int64_t[]){10, 2}, 2, 1);
    OK(cdl_function_run(function_of(small, "predict"), TENSORS(few), 1, NULL, &out, 1, NULL));
    cdl_bytes_free(bytes);
    cdl_tensor_free(few);
    cdl_tensor_free(out);
    cdl_tensor_free(x);
    cdl_tensor_free(forever);
    cdl_session_free(session);
    cdl_session_free(small);
    cdl_program_free(program);
    cdl_program_free(classes);
    cdl_limits_free(seconds);
    cdl_limits_free(cancelled);
    cdl_limits_free(memory);
    cdl_limits_free(tiny);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* Whether what began at `start`, to end after `seconds`, ended soon after that; benchmarks/cancel.py measures how soon. */
static int promptly(double start, double seconds) {
    const double took = now() - start;
    return took > seconds * 0.9 && took < seconds + 1;
}

/* A product that takes seconds ends at its deadline, or when another thread cancels. */
static void products(void) {
    cdl_graph *graph = NULL;
    OK(cdl_graph_new(&graph));
    uint32_t x = input(graph, "x", "float32[n, n]"), y = apply(graph, "matmul", "", VALUES(x, x), 2);
    function(graph, "square", NAMES("y"), &y, 1, "");
    cdl_program *program = program_of(graph);
    cdl_session *session = session_of(program);
    cdl_tensor *large = filled((int64_t[]){4096, 4096}, 2, 1), *small = filled((int64_t[]){2, 2}, 2, 3), *out = NULL;
    cdl_limits *seconds = NULL, *cancelled = NULL;
    OK(cdl_limits_new(0, 0.1, &seconds));
    double start = now();
    FAILS(CDL_DEADLINE, "square: the call took longer than its limit in seconds",
          cdl_function_run(function_of(session, "square"), TENSORS(large), 1, seconds, &out, 1, NULL));
    CHECK(promptly(start, 0.1));
    OK(cdl_limits_new(0, 0, &cancelled));
    pthread_t id;
    start = now();
    CHECK(pthread_create(&id, NULL, cancel_later, cancelled) == 0);
    FAILS(CDL_CANCELLED, "square: the call was cancelled",
          cdl_function_run(function_of(session, "square"), TENSORS(large), 1, cancelled, &out, 1, NULL));
    CHECK(promptly(start, 0.05) && out == NULL);
    pthread_join(id, NULL);
    OK(cdl_function_run(function_of(session, "square"), TENSORS(small), 1, seconds, &out, 1, NULL));
    CHECK(*(const float *)out->data == 18);
    cdl_tensor_free(out);
    cdl_tensor_free(large);
    cdl_tensor_free(small);
    cdl_limits_free(seconds);
    cdl_limits_free(cancelled);
    cdl_session_free(session);
    cdl_program_free(program);
}

/* Who waits for a run that writes may give up, and comes through once that has ended. */
static void waits(void) {
    cdl_program *program = counter();
    cdl_session *session = session_of(program);
    cdl_tensor *forever = integer(-1), *out = NULL, *seven = filled(NULL, 0, 7);
    cdl_variable *cell = NULL;
    cdl_call *rest = NULL;
    OK(cdl_variable_new(seven, &cell));
    OK(cdl_session_bind(session, S("total"), cell));
    OK(cdl_function_run(function_of(session, "count"), TENSORS(forever), 1, NULL, &out, 1, &rest));
    CHECK(rest != NULL);
    int32_t done = 7;
    double start = now();
    OK(cdl_session_set_state_within(session, NAMES("total"), TENSORS(seven), 1, 0.05, &done));
    CHECK(done == 0 && promptly(start, 0.05));
    done = 7;
    OK(cdl_session_restore_within(session, program, 1, 0.05, &done));
    CHECK(done == 0);
    done = 7;
    OK(cdl_variable_set_within(cell, seven, 0.05, &done));
    CHECK(done == 0);
    cdl_call_free(rest);
    OK(cdl_session_restore_within(session, program, 1, 0.05, &done));
    CHECK(done == 1 && state_of(session, "total") == 0);
    OK(cdl_session_set_state_within(session, NAMES("total"), TENSORS(seven), 1, 0.05, &done));
    CHECK(done == 1 && state_of(session, "total") == 7);
    OK(cdl_function_run(function_of(session, "count"), TENSORS(forever), 1, NULL, &out, 1, &rest));
    done = 7;
    OK(cdl_session_close_within(session, 0.05, &done));
    CHECK(done == 0);
    FAILS(CDL_CLOSED, "the session is closed", cdl_session_state(session, S("total"), &out));
    cdl_call_free(rest);
    OK(cdl_session_close_within(session, 0.05, &done));
    CHECK(done == 1);
    cdl_tensor_free(forever);
    cdl_tensor_free(seven);
    cdl_variable_free(cell);
    cdl_session_free(session);
    cdl_program_free(program);
}

/* Two sessions over one cell: what one trains the other sees. */
static void variables(void) {
    cdl_program *program = counter();
    cdl_session *one = session_of(program), *two = session_of(program);
    cdl_tensor *initial = filled(NULL, 0, 100), *few = integer(5), *out = NULL, *value = NULL;
    cdl_tensor *wide = filled((int64_t[]){2}, 1, 0);
    cdl_variable *cell = NULL, *other = NULL;
    OK(cdl_variable_new(initial, &cell));
    OK(cdl_variable_new(wide, &other));
    OK(cdl_session_bind(one, S("total"), cell));
    OK(cdl_session_bind(two, S("total"), cell));
    FAILS_AT(CDL_SHAPE, "total is float32[], the new value is float32[2]", "total",
             cdl_session_bind(two, S("total"), other));
    FAILS(CDL_NAME, "no state is named \"sum\"; there are: total", cdl_session_bind(two, S("sum"), cell));
    OK(cdl_function_run(function_of(one, "count"), TENSORS(few), 1, NULL, &out, 1, NULL));
    CHECK(state_of(two, "total") == 105);
    OK(cdl_variable_get(cell, &value));
    CHECK(*(const float *)value->data == 105);
    OK(cdl_variable_set(cell, initial));
    CHECK(state_of(one, "total") == 100 && *(const float *)value->data == 105);
    FAILS(CDL_SHAPE, "the variable is float32[], the new value is float32[2]", cdl_variable_set(cell, wide));
    cdl_variable_free(cell);
    cdl_variable_free(other);
    cdl_tensor_free(out);
    out = NULL;
    OK(cdl_function_run(function_of(two, "count"), TENSORS(few), 1, NULL, &out, 1, NULL));
    CHECK(state_of(one, "total") == 105);
    cdl_tensor_free(out);
    cdl_tensor_free(value);
    cdl_tensor_free(initial);
    cdl_tensor_free(wide);
    cdl_tensor_free(few);
    cdl_session_free(one);
    cdl_session_free(two);
    cdl_program_free(program);
}

static int contains(const cdl_bytes *bytes, const char *text) {
    const char *data = bytes->data;
    const size_t length = strlen(text);
    for (size_t i = 0; i + length <= bytes->len; i++) {
        if (memcmp(data + i, text, length) == 0) return 1;
    }
    return 0;
}

/* A tensor that someone holds never changes; a snapshot is a program of its own; restore takes it back. */
static void snapshots(void) {
    cdl_program *program = classifier(), *before = NULL, *loose = NULL;
    cdl_session *session = session_of(program);
    cdl_tensor *x = filled((int64_t[]){4, 2}, 2, 1), *y = NULL, *out = NULL, *held = NULL, *kept = NULL;
    OK(cdl_tensor_new(CDL_I32, (int64_t[]){4}, 1, NULL, 0, &y));
    OK(cdl_session_snapshot(session, &before));
    OK(cdl_session_state(session, S("w"), &held));
    CHECK(cdl_tensor_data_mut(held) == NULL); /* the session holds it too */
    OK(cdl_function_run(function_of(session, "train_step"), TENSORS(x, y), 2, NULL, &out, 1, NULL));
    CHECK(state_of(session, "w") != 0.5f && *(const float *)held->data == 0.5f);
    OK(cdl_program_state(before, S("w"), &kept));
    CHECK(*(const float *)kept->data == 0.5f);
    OK(cdl_session_restore(session, before, 1));
    CHECK(state_of(session, "w") == 0.5f);
    OK(cdl_program_without_lines(program, &loose));
    cdl_bytes *with = NULL, *without = NULL;
    OK(cdl_program_write(program, &with));
    OK(cdl_program_write(loose, &without));
    CHECK(contains(with, "model.c") && !contains(without, "model.c"));
    cdl_bytes_free(with);
    cdl_bytes_free(without);
    cdl_program_free(loose);
    cdl_program_free(before);
    cdl_tensor_free(kept);
    cdl_tensor_free(held);
    cdl_tensor_free(out);
    cdl_tensor_free(x);
    cdl_tensor_free(y);
    cdl_session_free(session);
    cdl_program_free(program);
}

/* What is handed out lives on its own: calls after their session, sessions after their program, tensors after all. */
static void lifetimes(void) {
    cdl_program *program = classifier(), *opened = NULL, *snapshot = NULL;
    OK(cdl_program_save(program, S("lifetimes.caudal")));
    cdl_program_free(program);
    cdl_tensor *x = filled((int64_t[]){4, 2}, 2, 1), *y = NULL, *held[2], *kept[2], *out = NULL;
    OK(cdl_tensor_new(CDL_I32, (int64_t[]){4}, 1, NULL, 0, &y));
    const char *options[] = {"", "{\"map\": true}"};
    for (int i = 0; i < 2; i++) {
        OK(cdl_program_open(S("lifetimes.caudal"), S(options[i]), NULL, &opened));
        cdl_session *session = session_of(opened);
        cdl_program_free(opened);
        OK(cdl_session_state(session, S("w"), &held[i]));
        OK(cdl_session_snapshot(session, &snapshot));
        OK(cdl_function_run(function_of(session, "train_step"), TENSORS(x, y), 2, NULL, &out, 1, NULL));
        cdl_tensor_free(out);
        OK(cdl_session_state(session, S("w"), &kept[i]));
        OK(cdl_function_run(function_of(session, "train_step"), TENSORS(x, y), 2, NULL, &out, 1, NULL));
        OK(cdl_session_restore(session, snapshot, 1));
        cdl_session_free(session);
        OK(cdl_program_save(snapshot, S("lifetimes.caudal")));
        cdl_program_free(snapshot);
        CHECK(*(const float *)out->data < 1.5f);
        cdl_tensor_free(out);
    }
    CHECK(remove("lifetimes.caudal") == 0);
    for (int i = 0; i < 2; i++) {
        const float *before = held[i]->data, *after = kept[i]->data;
        for (int j = 0; j < 6; j++) CHECK(before[j] == 0.5f && after[j] != 0.5f);
        cdl_tensor_free(held[i]);
        cdl_tensor_free(kept[i]);
    }

    /* A call in pieces goes on without the session, the inputs and the limits that it was begun with. */
    program = counter();
    cdl_session *session = session_of(program);
    cdl_program_free(program);
    cdl_limits *limits = NULL;
    cdl_call *rest = NULL;
    OK(cdl_limits_new(1u << 20, 100, &limits));
    cdl_tensor *forever = integer(-1), *total = NULL;
    OK(cdl_function_run(function_of(session, "count"), TENSORS(forever), 1, limits, &total, 1, &rest));
    cdl_session_free(session);
    cdl_tensor_free(forever);
    int32_t finished = 1;
    OK(cdl_call_resume(rest, 0.01, &total, 1, &finished));
    CHECK(!finished && total == NULL);
    cdl_limits_cancel(limits);
    cdl_limits_free(limits);
    FAILS(CDL_CANCELLED, "count: the call was cancelled", cdl_call_resume(rest, 1, &total, 1, &finished));
    cdl_call_free(rest);
    cdl_tensor_free(x);
    cdl_tensor_free(y);
}

typedef struct {
    const cdl_session *session;
    cdl_limits *limits;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int begun, closed, calls, cancelled;
} caller;

static void begin(caller *self) {
    pthread_mutex_lock(&self->lock);
    self->begun = 1;
    pthread_cond_signal(&self->changed);
    pthread_mutex_unlock(&self->lock);
}

static void start_caller(caller *self, const cdl_session *session, pthread_t *id, void *(*body)(void *)) {
    *self = (caller){.session = session};
    pthread_mutex_init(&self->lock, NULL);
    pthread_cond_init(&self->changed, NULL);
    OK(cdl_limits_new(0, 0, &self->limits));
    CHECK(pthread_create(id, NULL, body, self) == 0);
    pthread_mutex_lock(&self->lock);
    while (!self->begun) pthread_cond_wait(&self->changed, &self->lock);
    pthread_mutex_unlock(&self->lock);
}

static void *count_until_closed(void *argument) {
    caller *self = argument;
    const cdl_function *count = function_of(self->session, "count");
    cdl_tensor *times = integer(20), *out = NULL;
    while (!self->closed) {
        cdl_error *error = cdl_function_run(count, TENSORS(times), 1, NULL, &out, 1, NULL);
        if (error) {
            self->closed = error->code == CDL_CLOSED && strcmp(error->message, "the session is closed") == 0 ? 1 : -1;
            cdl_error_free(error);
        } else {
            self->calls++;
            cdl_tensor_free(out);
        }
        begin(self);
    }
    cdl_tensor_free(times);
    return NULL;
}

static void *count_for_ever(void *argument) {
    caller *self = argument;
    cdl_tensor *times = integer(-1), *out = NULL;
    begin(self);
    cdl_error *error =
        cdl_function_run(function_of(self->session, "count"), TENSORS(times), 1, self->limits, &out, 1, NULL);
    self->cancelled = error && error->code == CDL_CANCELLED;
    cdl_error_free(error);
    cdl_tensor_free(times);
    return NULL;
}

/* Closing waits for the calls that run, whatever thread they are of; later ones are refused. */
static void closing(void) {
    cdl_program *program = counter();
    cdl_session *session = session_of(program);
    pthread_t ids[READERS], canceller;
    caller callers[READERS], endless;
    for (int i = 0; i < READERS; i++) start_caller(&callers[i], session, &ids[i], count_until_closed);
    cdl_program *snapshot = NULL;
    cdl_tensor *total = NULL;
    OK(cdl_session_close(session));
    OK(cdl_session_close(session));
    FAILS(CDL_CLOSED, "the session is closed", cdl_session_snapshot(session, &snapshot));
    FAILS(CDL_CLOSED, "the session is closed", cdl_session_state(session, S("total"), &total));
    FAILS(CDL_CLOSED, "the session is closed", cdl_session_set_state(session, NULL, NULL, 0));
    for (int i = 0; i < READERS; i++) {
        pthread_join(ids[i], NULL);
        cdl_limits_free(callers[i].limits);
        CHECK(callers[i].closed == 1 && callers[i].calls > 0);
    }
    cdl_session_free(session);

    /* A call without an end keeps it open until someone cancels it. */
    session = session_of(program);
    start_caller(&endless, session, &ids[0], count_for_ever);
    nap(0.02);
    CHECK(pthread_create(&canceller, NULL, cancel_later, endless.limits) == 0);
    OK(cdl_session_close(session));
    pthread_join(ids[0], NULL);
    pthread_join(canceller, NULL);
    CHECK(endless.cancelled);
    cdl_limits_free(endless.limits);
    cdl_session_free(session);
    cdl_program_free(program);
}

/* dlpack.h 1.0, as far as it is used here. */
typedef struct {
    void *data;
    int32_t device_type, device_id, ndim;
    uint8_t code, bits;
    uint16_t lanes;
    int64_t *shape, *strides;
    uint64_t byte_offset;
} dl_tensor;
typedef struct managed {
    dl_tensor tensor;
    void *context;
    void (*deleter)(struct managed *);
} managed;
typedef struct versioned {
    uint32_t major, minor;
    void *context;
    void (*deleter)(struct versioned *);
    uint64_t flags;
    dl_tensor tensor;
} versioned;

static int deleted;

static void count_deletion(managed *self) {
    (void)self;
    deleted++;
}

static void dlpack(void) {
    cdl_tensor *tensor = filled((int64_t[]){2, 3}, 2, 4), *back = NULL;
    for (int32_t kind = 0; kind < 2; kind++) {
        void *capsule = NULL;
        OK(cdl_tensor_to_dlpack(tensor, kind, &capsule));
        const dl_tensor *view = kind ? &((versioned *)capsule)->tensor : &((managed *)capsule)->tensor;
        CHECK(view->data == tensor->data && view->ndim == 2 && view->shape[1] == 3 && view->strides[0] == 3);
        CHECK(view->device_type == 1 && view->code == 2 && view->bits == 32 && view->lanes == 1);
        CHECK(!kind || (((versioned *)capsule)->flags & 1));
        OK(cdl_tensor_from_dlpack(capsule, kind, &back));
        CHECK(back->data == tensor->data && back->dtype == CDL_F32 && back->dims[0] == 2 && back->dims[1] == 3);
        cdl_tensor_free(back);
        back = NULL;
    }
    cdl_tensor_free(tensor);

    float data[] = {1, 2, 3, 4, 5, 6};
    int64_t shape[] = {3, 2}, strides[] = {1, 3};
    managed own = {{data, 1, 0, 2, 2, 32, 1, shape, strides, 0}, NULL, count_deletion};
    OK(cdl_tensor_from_dlpack(&own, 0, &back)); /* transposed: a copy, and the owner is done */
    const float *elements = back->data;
    CHECK(deleted == 1 && elements[0] == 1 && elements[1] == 4 && elements[2] == 2 && elements[5] == 6);
    cdl_tensor_free(back);
    back = NULL;
    own.tensor.strides = NULL;
    OK(cdl_tensor_from_dlpack(&own, 0, &back)); /* row-major: the same memory */
    CHECK(deleted == 1 && back->data == data);
    cdl_tensor_free(back);
    back = NULL;
    CHECK(deleted == 2);
    own.tensor.device_type = 2;
    FAILS(CDL_DEVICE, "the data is on DLPack's device 2, not on the CPU", cdl_tensor_from_dlpack(&own, 0, &back));
    own.tensor.device_type = 1;
    own.tensor.code = 5;
    FAILS(CDL_DTYPE, "no dtype is DLPack's code 5, 32 bits, 1 lanes", cdl_tensor_from_dlpack(&own, 0, &back));
    own.tensor.code = 2;
    own.tensor.data = NULL;
    FAILS(CDL_ARGUMENT, "the tensor's data is NULL", cdl_tensor_from_dlpack(&own, 0, &back));
    CHECK(deleted == 2 && back == NULL);
}

/* Gradient descent whose rate, 1 in the state, rises over four steps: the parameter sinks by 0, 1/4, 1/2, 3/4, 1, 1. */
static void schedules(void) {
    cdl_graph *graph = NULL;
    cdl_op *sgd = NULL, *warmup = NULL;
    OK(cdl_graph_new(&graph));
    uint32_t w = state(graph, "w", NULL, 0, 10), grad = constant(graph, filled(NULL, 0, 1));
    uint32_t step = function(graph, "train_step", NULL, NULL, 0, "");
    OK(cdl_op_new(S("sgd"), NULL, 0, &sgd));
    OK(cdl_op_new(S("constant_schedule"), S("{\"warmup_steps\": 4}"), &warmup));
    cdl_tensor *rate = filled(NULL, 0, 1);
    OK(cdl_graph_schedule(graph, S("optimizer"), warmup));
    OK(cdl_graph_optimize(graph, step, S("optimizer"), sgd, rate, &grad, &w, 1));
    cdl_tensor_free(rate);
    cdl_op_free(sgd);
    cdl_op_free(warmup);
    cdl_program *program = program_of(graph);
    cdl_session *session = session_of(program);
    const float expected[] = {10, 9.75f, 9.25f, 8.5f, 7.5f, 6.5f};
    for (int i = 0; i < 6; i++) {
        OK(cdl_function_run(function_of(session, "train_step"), NULL, 0, NULL, NULL, 0, NULL));
        CHECK(state_of(session, "w") == expected[i]);
        CHECK(state_of(session, "optimizer/learning_rate") == 1);
    }
    cdl_session_free(session);
    cdl_program_free(program);
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*run)(void);
    } checks[] = {{"threads", threads},     {"pieces", pieces},       {"dropped", dropped},
                  {"limits", limits},       {"products", products},   {"waits", waits},
                  {"variables", variables}, {"snapshots", snapshots}, {"lifetimes", lifetimes},
                  {"closing", closing},     {"dlpack", dlpack},       {"schedules", schedules}};
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) {
        if (argc == 2 && strcmp(argv[1], checks[i].name) == 0) {
            checks[i].run();
            return done();
        }
    }
    fprintf(stderr, "usage: runs CHECK\n");
    return 2;
}
