/* Opens a program file, goes on training it, evaluates it: with caudal.h and the C library alone.
 *
 *     train FILE --images PATH --labels PATH --eval-images PATH --eval-labels PATH
 *
 * FILE holds `train_step(x, y) -> loss, accuracy` and `evaluate(x, y) -> loss, accuracy`. The data are the bare
 * little-endian elements: float32 pictures, int32 labels. Nothing here knows the network: what the pictures look
 * like, the program says itself.
 */
#define _POSIX_C_SOURCE 199309L /* clock_gettime */

#include <caudal.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A text argument: a pointer and a length. */
#define S(text) (text), CDL_NUL

/* Each function here has one way out, `done`, which frees what it made; every cdl_*_free takes NULL. */
#define TRY(call)                                                                                                      \
    do {                                                                                                               \
        cdl_error *error = (call);                                                                                     \
        if (error) {                                                                                                   \
            report(error);                                                                                             \
            goto done;                                                                                                 \
        }                                                                                                              \
    } while (0)

/* The same for what caudal has no part in. */
#define CHECK(condition, ...)                                                                                          \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "error: " __VA_ARGS__);                                                                    \
            fputc('\n', stderr);                                                                                       \
            goto done;                                                                                                 \
        }                                                                                                              \
    } while (0)

enum { MAX_RANK = 8 };

static const char USAGE[] =
    "usage: train FILE --images PATH --labels PATH [options]\n"
    "\n"
    "Goes on training the program in FILE with its function train_step.\n"
    "\n"
    "  --images PATH       float32 pictures to train on, little-endian, one after the other\n"
    "  --labels PATH       their int32 labels\n"
    "  --eval-images PATH  pictures for the function evaluate; left out, nothing is evaluated\n"
    "  --eval-labels PATH  their labels\n"
    "  --steps N           how many steps to train (20)\n"
    "  --batch N           how many pictures a step takes (64); steps take them in order, from the start again at the "
    "end\n"
    "  --json PATH         where to write losses, accuracy, evaluation_loss and ms_per_step (the median)\n"
    "  --save PATH         where to save the program as it is then\n";

typedef struct {
    const char *file, *images, *labels, *eval_images, *eval_labels, *json, *save;
    size_t steps, batch;
} options;

/* Examples as they lie in memory. */
typedef struct {
    float *pictures;
    int32_t *labels;
    size_t count;
} examples;

typedef struct {
    float loss, accuracy;
} measures;

static void report(cdl_error *error) {
    fprintf(stderr, "error: %s [code %d]\n", error->message, error->code);
    cdl_error_free(error);
}

/* The index of the input or output of that name; -1 if there is none. */
static int find(const cdl_function *function, int32_t side, const char *wanted) {
    const char *name = NULL;
    for (size_t index = 0; cdl_function_spec(function, side, index, &name); index++) {
        if (strcmp(name, wanted) == 0) return (int)index;
    }
    return -1;
}

static void print_signature(const char *title, const cdl_function *function) {
    const cdl_spec *spec = NULL;
    const char *name = NULL;
    printf("%s(", title);
    for (size_t index = 0; (spec = cdl_function_spec(function, CDL_INPUT, index, &name)); index++) {
        printf("%s%s: %s", index ? ", " : "", name, spec->text);
    }
    printf(") -> ");
    for (size_t index = 0; (spec = cdl_function_spec(function, CDL_OUTPUT, index, &name)); index++) {
        printf("%s%s: %s", index ? ", " : "", name, spec->text);
    }
    printf("\n");
}

/* Whether a function is (x, y) -> {loss, accuracy}, with one scalar float32 each; says what is missing. */
static int check_signature(const char *title, const cdl_function *function) {
    int ok = 0;
    const char *outputs[] = {"loss", "accuracy"};
    CHECK(find(function, CDL_INPUT, "x") == 0 && find(function, CDL_INPUT, "y") == 1 &&
              !cdl_function_spec(function, CDL_INPUT, 2, NULL),
          "the inputs of %s are not x, y", title);
    CHECK(!cdl_function_spec(function, CDL_OUTPUT, 2, NULL), "%s has more outputs than loss and accuracy", title);
    for (size_t index = 0; index < 2; index++) {
        int at = find(function, CDL_OUTPUT, outputs[index]);
        CHECK(at >= 0, "%s has no output %s", title, outputs[index]);
        CHECK(strcmp(cdl_function_spec(function, CDL_OUTPUT, (size_t)at, NULL)->text, "float32[]") == 0,
              "the output %s of %s is not float32[]", outputs[index], title);
    }
    const cdl_spec *x = cdl_function_spec(function, CDL_INPUT, 0, NULL);
    CHECK(x->rank >= 1 && x->rank <= MAX_RANK, "the input x of %s is %s, not a batch", title, x->text);
    for (size_t axis = 1; axis < x->rank; axis++) {
        CHECK(x->dims[axis] > 0, "the input x of %s is %s: the dim %s is not known", title, x->text, x->symbols[axis]);
    }
    ok = 1;
done:
    return ok;
}

/* How many elements one picture has. */
static size_t picture_size(const cdl_function *function) {
    const cdl_spec *x = cdl_function_spec(function, CDL_INPUT, 0, NULL);
    size_t size = 1;
    for (size_t axis = 1; axis < x->rank; axis++) size *= (size_t)x->dims[axis];
    return size;
}

/* The bytes of a file, which the caller frees; NULL after saying why not. */
static void *read_file(const char *path, size_t *bytes) {
    void *data = NULL;
    FILE *file = fopen(path, "rb");
    CHECK(file, "cannot open %s", path);
    CHECK(fseek(file, 0, SEEK_END) == 0, "cannot read %s", path);
    long end = ftell(file);
    CHECK(end > 0 && fseek(file, 0, SEEK_SET) == 0, "%s is empty or cannot be read", path);
    *bytes = (size_t)end;
    data = malloc(*bytes);
    CHECK(data, "no memory for the %zu bytes of %s", *bytes, path);
    if (fread(data, 1, *bytes, file) != *bytes) {
        free(data);
        data = NULL;
        CHECK(0, "cannot read %s", path);
    }
done:
    if (file) fclose(file);
    return data;
}

static int read_examples(const char *images, const char *labels, size_t size, examples *out) {
    int ok = 0;
    size_t image_bytes = 0, label_bytes = 0;
    CHECK(out->pictures = read_file(images, &image_bytes), "there are no pictures");
    CHECK(out->labels = read_file(labels, &label_bytes), "there are no labels");
    out->count = label_bytes / sizeof(int32_t);
    CHECK(label_bytes % sizeof(int32_t) == 0 && image_bytes == out->count * size * sizeof(float),
          "%s has %zu bytes, %s %zu: that is not %zu float32 for each int32", images, image_bytes, labels, label_bytes,
          size);
    ok = 1;
done:
    return ok;
}

/* Calls a function on `count` examples from `start` on. */
static int call(const cdl_function *function, const examples *data, size_t start, size_t count, measures *out) {
    int ok = 0;
    cdl_tensor *x = NULL, *y = NULL, *outputs[2] = {NULL, NULL};
    const cdl_spec *spec = cdl_function_spec(function, CDL_INPUT, 0, NULL);
    const size_t size = picture_size(function);
    int64_t dims[MAX_RANK];
    memcpy(dims, spec->dims, spec->rank * sizeof *dims);
    dims[0] = (int64_t)count;
    TRY(cdl_tensor_new(CDL_F32, dims, spec->rank, data->pictures + start * size, count * size * sizeof(float), &x));
    TRY(cdl_tensor_new(CDL_I32, dims, 1, data->labels + start, count * sizeof(int32_t), &y));
    TRY(cdl_function_run(function, (const cdl_tensor *[]){x, y}, 2, NULL, outputs, 2, NULL));
    out->loss = *(const float *)outputs[find(function, CDL_OUTPUT, "loss")]->data;
    out->accuracy = *(const float *)outputs[find(function, CDL_OUTPUT, "accuracy")]->data;
    ok = 1;
done:
    cdl_tensor_free(x);
    cdl_tensor_free(y);
    cdl_tensor_free(outputs[0]);
    cdl_tensor_free(outputs[1]);
    return ok;
}

static double milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static int ascending(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

/* Sorts the times. */
static double median(double *times, size_t count) {
    qsort(times, count, sizeof *times, ascending);
    return (times[(count - 1) / 2] + times[count / 2]) / 2;
}

/* Seventeen digits: whoever reads them as a double gets the float32 itself. */
static void write_number(FILE *file, float number) {
    if (isnan(number))
        fputs("NaN", file);
    else if (isinf(number))
        fputs(number < 0 ? "-Infinity" : "Infinity", file);
    else
        fprintf(file, "%.17g", (double)number);
}

static int write_json(const char *path, const measures *steps, size_t count, const measures *evaluated, double ms) {
    int ok = 0;
    FILE *file = fopen(path, "w");
    CHECK(file, "cannot write %s", path);
    fputs("{\"losses\": [", file);
    for (size_t step = 0; step < count; step++) {
        fputs(step ? ", " : "", file);
        write_number(file, steps[step].loss);
    }
    fputs("]", file);
    if (evaluated) {
        fputs(", \"accuracy\": ", file);
        write_number(file, evaluated->accuracy);
        fputs(", \"evaluation_loss\": ", file);
        write_number(file, evaluated->loss);
    }
    fprintf(file, ", \"ms_per_step\": %.6g}\n", ms);
    CHECK(!ferror(file), "cannot write %s", path);
    ok = 1;
done:
    if (file && fclose(file) != 0) {
        fprintf(stderr, "error: cannot write %s\n", path);
        ok = 0;
    }
    return ok;
}

/* Trains; gives the measures of each step, and the median time of one in milliseconds. */
static int train(const cdl_function *function, const examples *data, const options *opt, measures *steps, double *ms) {
    int ok = 0;
    double *times = calloc(opt->steps, sizeof *times);
    CHECK(times, "no memory for %zu steps", opt->steps);
    CHECK(opt->batch <= data->count, "a batch of %zu from %zu pictures", opt->batch, data->count);
    const size_t batches = data->count / opt->batch;
    for (size_t step = 0; step < opt->steps; step++) {
        double start = milliseconds();
        if (!call(function, data, step % batches * opt->batch, opt->batch, &steps[step])) goto done;
        times[step] = milliseconds() - start;
        printf("step %zu: loss %.9g, accuracy %.4f\n", step + 1, steps[step].loss, steps[step].accuracy);
    }
    *ms = median(times, opt->steps);
    ok = 1;
done:
    free(times);
    return ok;
}

/* Saves what the session holds now. */
static int save(const cdl_session *session, const char *path) {
    int ok = 0;
    cdl_program *snapshot = NULL;
    TRY(cdl_session_snapshot(session, &snapshot));
    TRY(cdl_program_save(snapshot, S(path)));
    ok = 1;
done:
    cdl_program_free(snapshot);
    return ok;
}

static int run(const options *opt) {
    int ok = 0;
    double ms = 0;
    examples training = {0}, evaluation = {0};
    measures *steps = calloc(opt->steps, sizeof *steps), evaluated;
    cdl_program *program = NULL;
    cdl_session *session = NULL;
    const cdl_function *train_step = NULL, *evaluate = NULL;

    CHECK(steps, "no memory for %zu steps", opt->steps);
    CHECK(cdl_abi_version() >= CDL_ABI, "the library is older than this program: ABI %u, not %d",
          (unsigned)cdl_abi_version(), CDL_ABI);
    TRY(cdl_program_open(S(opt->file), NULL, 0, NULL, &program));
    TRY(cdl_program_session(program, S("{\"device\": \"cpu\"}"), NULL, &session));
    TRY(cdl_session_function(session, S("train_step"), &train_step));
    print_signature("train_step", train_step);
    if (!check_signature("train_step", train_step)) goto done;
    if (!read_examples(opt->images, opt->labels, picture_size(train_step), &training)) goto done;
    if (opt->eval_images) {
        TRY(cdl_session_function(session, S("evaluate"), &evaluate));
        print_signature("evaluate", evaluate);
        if (!check_signature("evaluate", evaluate)) goto done;
        if (!read_examples(opt->eval_images, opt->eval_labels, picture_size(evaluate), &evaluation)) goto done;
    }
    if (!train(train_step, &training, opt, steps, &ms)) goto done;
    printf("%.3f ms a step (median)\n", ms);
    if (evaluate) {
        if (!call(evaluate, &evaluation, 0, evaluation.count, &evaluated)) goto done;
        printf("evaluated on %zu: loss %.9g, accuracy %.4f\n", evaluation.count, evaluated.loss, evaluated.accuracy);
    }
    if (opt->json && !write_json(opt->json, steps, opt->steps, evaluate ? &evaluated : NULL, ms)) goto done;
    if (opt->save && !save(session, opt->save)) goto done;
    ok = 1;
done:
    cdl_session_free(session); /* its functions go with it */
    cdl_program_free(program);
    free(training.pictures);
    free(training.labels);
    free(evaluation.pictures);
    free(evaluation.labels);
    free(steps);
    return ok;
}

/* A count from 1 to a million; 0 if the text is none. */
static size_t parse_count(const char *text) {
    char *end = NULL;
    long count = strtol(text, &end, 10);
    return *text && !*end && count >= 1 && count <= 1000000 ? (size_t)count : 0;
}

/* Fills in the options; says what is wrong with them. */
static int parse(int argc, char **argv, options *opt) {
    int ok = 0;
    const char *steps = "20", *batch = "64";
    const struct {
        const char *name, **value;
    } known[] = {{"--images", &opt->images},
                 {"--labels", &opt->labels},
                 {"--eval-images", &opt->eval_images},
                 {"--eval-labels", &opt->eval_labels},
                 {"--json", &opt->json},
                 {"--save", &opt->save},
                 {"--steps", &steps},
                 {"--batch", &batch}};
    const size_t known_count = sizeof known / sizeof *known;
    for (int at = 1; at < argc; at++) {
        size_t index = 0;
        while (index < known_count && strcmp(argv[at], known[index].name) != 0) index++;
        if (index < known_count) {
            CHECK(at + 1 < argc, "%s needs a value", argv[at]);
            *known[index].value = argv[++at];
        } else {
            CHECK(argv[at][0] != '-', "there is no option %s; see --help", argv[at]);
            CHECK(!opt->file, "two files, %s and %s; see --help", opt->file, argv[at]);
            opt->file = argv[at];
        }
    }
    CHECK(opt->file && opt->images && opt->labels, "FILE, --images and --labels are needed; see --help");
    CHECK(!opt->eval_images == !opt->eval_labels, "--eval-images and --eval-labels go together");
    CHECK((opt->steps = parse_count(steps)), "--steps takes a number from 1 to 1000000, not %s", steps);
    CHECK((opt->batch = parse_count(batch)), "--batch takes a number from 1 to 1000000, not %s", batch);
    ok = 1;
done:
    return ok;
}

int main(int argc, char **argv) {
    options opt = {0};
    for (int at = 1; at < argc; at++) {
        if (strcmp(argv[at], "--help") == 0 || strcmp(argv[at], "-h") == 0) {
            fputs(USAGE, stdout);
            return EXIT_SUCCESS;
        }
    }
    if (!parse(argc, argv, &opt)) return 2;
    return run(&opt) ? EXIT_SUCCESS : EXIT_FAILURE;
}
