package main

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"time"

	caudal "github.com/caudal-project/caudal/go"
)

// handler gives all that the service answers; each request has a line in the log.
func (s *service) handler() http.Handler {
	mux := http.NewServeMux()
	for path, method := range map[string]struct {
		name   string
		answer func(http.ResponseWriter, *http.Request) (int, any, error)
	}{
		"/predict":  {http.MethodPost, s.predict},
		"/feedback": {http.MethodPost, s.feedback},
		"/healthz":  {http.MethodGet, s.health},
		"/info":     {http.MethodGet, s.info},
	} {
		mux.Handle(path, s.endpoint(method.name, method.answer))
	}
	mux.Handle("/", s.endpoint("", func(_ http.ResponseWriter, r *http.Request) (int, any, error) {
		return 0, nil, &failure{http.StatusNotFound, "there is no " + r.URL.Path, string(caudal.CodeName)}
	}))
	// A page of another site that a browser shows is not to teach this one.
	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(s.endpoint("", func(http.ResponseWriter, *http.Request) (int, any, error) {
		return 0, nil, &failure{http.StatusForbidden, "pages of other sites may not ask", string(caudal.CodeArgument)}
	}))
	return protection.Handler(mux)
}

// endpoint makes a handler of what gives a status and a value, or an error. The request's context has the service's
// timeout. Any method will do where it is "".
func (s *service) endpoint(
	method string, give func(http.ResponseWriter, *http.Request) (int, any, error),
) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		ctx, cancel := context.WithTimeout(r.Context(), s.options.timeout)
		defer cancel()
		var status int
		var value any
		var err error
		if method != "" && r.Method != method {
			w.Header().Set("Allow", method)
			err = &failure{http.StatusMethodNotAllowed, "the method is " + method, string(caudal.CodeArgument)}
		} else {
			status, value, err = give(w, r.WithContext(ctx))
		}
		level, cause := slog.LevelDebug, []any{}
		if err != nil {
			failure := failureOf(err)
			status, value = failure.Status, failure
			if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
				w.Header().Set("Retry-After", "1")
			}
			level, cause = slog.LevelInfo, []any{"error", err}
			if status == http.StatusInternalServerError {
				level = slog.LevelError
			}
		}
		answer(w, status, value)
		s.log.Log(ctx, level, "request", append([]any{
			"method", r.Method, "path", r.URL.Path, "from", r.RemoteAddr, "status", status, "took", time.Since(start),
		}, cause...)...)
	})
}

// decode reads the JSON of a body, of which nothing may be left.
func (s *service) decode(w http.ResponseWriter, r *http.Request, into any) error {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, s.options.body))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(into)
	if err == nil {
		if _, err = decoder.Token(); err == io.EOF {
			// The limit for reading would end the request's context, too.
			return http.NewResponseController(w).SetReadDeadline(time.Time{})
		}
		if err == nil {
			return refused(caudal.CodeFormat, "the body goes on after its JSON")
		}
	}
	if known := failureOf(err); known.Status < http.StatusInternalServerError {
		return known
	}
	return refused(caudal.CodeFormat, "the body is not the JSON that is wanted: %v", err)
}

// predict answers {"pixels": [...]} of one or many images with {"predictions": [...]}.
func (s *service) predict(w http.ResponseWriter, r *http.Request) (int, any, error) {
	var body struct {
		Pixels pixels `json:"pixels"`
	}
	if err := s.decode(w, r, &body); err != nil {
		return 0, nil, err
	}
	predictions, err := s.model.predict(r.Context(), body.Pixels)
	return http.StatusOK, map[string]any{"predictions": predictions}, err
}

// feedback takes {"pixels": [...], "label": class} of one image, to be learned soon.
func (s *service) feedback(w http.ResponseWriter, r *http.Request) (int, any, error) {
	var body struct {
		Pixels pixels `json:"pixels"`
		Label  any    `json:"label"`
	}
	if err := s.decode(w, r, &body); err != nil {
		return 0, nil, err
	}
	if len(body.Pixels) != 1 {
		return 0, nil, refused(caudal.CodeArgument, "pixels: give one image, not %d", len(body.Pixels))
	}
	if _, err := s.model.tensor(body.Pixels); err != nil {
		return 0, nil, err
	}
	class, err := s.model.class(body.Label)
	if err != nil {
		return 0, nil, err
	}
	queued, err := s.learner.offer(example{body.Pixels[0], class})
	return http.StatusAccepted, map[string]int{"queued": queued}, err
}

// health says whether the service takes requests.
func (s *service) health(http.ResponseWriter, *http.Request) (int, any, error) {
	if s.stopping.Load() {
		return 0, nil, errStopping
	}
	return http.StatusOK, map[string]string{"status": "ok"}, nil
}

// about is what /info says.
type about struct {
	Version   string          `json:"version"`
	File      string          `json:"file"`
	Device    string          `json:"device"`
	Functions []functionAbout `json:"functions"`
	Metadata  any             `json:"metadata"`
	Learned   learned         `json:"learned"`
	Saved     savedAbout      `json:"saved"`
	Memory    memoryAbout     `json:"memory"`
	Readers   readersAbout    `json:"readers"`
}

type functionAbout struct {
	Name    string            `json:"name"`
	Doc     string            `json:"doc"`
	Inputs  map[string]string `json:"inputs"`
	Outputs map[string]string `json:"outputs"`
	Trains  bool              `json:"trains"`
}

type savedAbout struct {
	Steps uint64     `json:"steps"`
	At    *time.Time `json:"at"`
}

// memoryAbout is in bytes; a limit of 0 is none.
type memoryAbout struct {
	Limit uint64 `json:"limit"`
	Used  uint64 `json:"used"`
	Peak  uint64 `json:"peak"`
}

// readersAbout are the copies of the state for predictions beside each other, and the bytes that each may hold.
type readersAbout struct {
	Made   int    `json:"made"`
	Most   int    `json:"most"`
	Memory uint64 `json:"memory"`
}

// info says what is served, and what was learned.
func (s *service) info(http.ResponseWriter, *http.Request) (int, any, error) {
	report, err := s.model.session.Report()
	if err != nil {
		return 0, nil, err
	}
	version, err := caudal.Version()
	if err != nil {
		return 0, nil, err
	}
	program := s.model.session.Program()
	value := about{
		Version: version, File: s.options.save, Device: report.Device, Metadata: program.Metadata(),
		Learned: s.learner.learned(), Memory: memoryAbout(report.Memory),
		Readers: readersAbout{report.Readers.Made, report.Readers.Most, report.Readers.Memory},
	}
	for _, each := range program.Functions() {
		value.Functions = append(value.Functions, functionAbout{
			each.Name, each.Doc, specs(each.Inputs), specs(each.Outputs), len(each.Writes) > 0,
		})
	}
	steps, at := s.saver.saved()
	if value.Saved.Steps = steps; !at.IsZero() {
		value.Saved.At = &at
	}
	return http.StatusOK, value, nil
}

func specs(all []caudal.Named) map[string]string {
	texts := make(map[string]string, len(all))
	for _, each := range all {
		texts[each.Name] = each.Spec.String()
	}
	return texts
}
