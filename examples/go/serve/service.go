package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	caudal "github.com/caudal-project/caudal/go"
)

const pixels = 28 * 28

// mostBytes is how large the body of a request may be: 784 numbers in any reasonable form.
const mostBytes = 64 << 10

// A service answers requests.
type service struct {
	session *caudal.Session
	learner *learner
	labels  []string
	classes int
}

func newService(session *caudal.Session, learner *learner) (*service, error) {
	for _, name := range []string{"predict", "train_step"} {
		if _, err := session.Program().Function(name); err != nil {
			return nil, err
		}
	}
	s := &service{session: session, learner: learner}
	metadata, _ := session.Program().Metadata().(map[string]any)
	labels, _ := metadata["labels"].([]any)
	for _, label := range labels {
		s.labels = append(s.labels, fmt.Sprint(label))
	}
	// A first call says how many classes there are, and makes all ready.
	probabilities, err := s.probabilities(context.Background(), make([]float32, pixels))
	s.classes = len(probabilities)
	return s, err
}

func (s *service) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /predict", answering(s.predict))
	mux.HandleFunc("POST /feedback", answering(s.feedback))
	mux.HandleFunc("GET /healthz", answering(s.health))
	return mux
}

// A refusal is an error of the request.
type refusal struct {
	status int
	text   string
}

func (r *refusal) Error() string { return r.text }

func refuse(status int, format string, values ...any) error {
	return &refusal{status, fmt.Sprintf(format, values...)}
}

// answering writes what a function gives as JSON, errors too.
func answering(answer func(r *http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, mostBytes)
		result, err := answer(r)
		status := http.StatusOK
		if err != nil {
			status = statusOf(err)
			result = map[string]string{"error": err.Error()}
		}
		w.Header().Set("Content-Type", "application/json")
		if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
			w.Header().Set("Retry-After", "1")
		}
		w.WriteHeader(status)
		// Who asked may be gone.
		_ = json.NewEncoder(w).Encode(result)
	}
}

func statusOf(err error) int {
	var refused *refusal
	switch {
	case errors.As(err, &refused):
		return refused.status
	case errors.Is(err, errBusy):
		return http.StatusTooManyRequests
	case errors.Is(err, errEnding), errors.Is(err, caudal.ErrClosed), errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, context.Canceled), errors.Is(err, caudal.ErrMemory):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

type request struct {
	Image []float32 `json:"image"`
	Label *int32    `json:"label"`
}

// read gives the request, if it has a picture.
func read(r *http.Request) (*request, error) {
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	var found request
	var large *http.MaxBytesError
	switch err := decoder.Decode(&found); {
	case errors.As(err, &large):
		return nil, refuse(http.StatusRequestEntityTooLarge, "the body has more than %d bytes", large.Limit)
	case err != nil:
		return nil, refuse(http.StatusBadRequest, "the body is not what is expected: %v", err)
	case len(found.Image) != pixels:
		return nil, refuse(http.StatusBadRequest, "image has %d numbers, expected %d", len(found.Image), pixels)
	}
	for _, value := range found.Image {
		if value < 0 || value > 1 {
			return nil, refuse(http.StatusBadRequest, "image holds %g, which is not from 0 to 1", value)
		}
	}
	return &found, nil
}

func (s *service) predict(r *http.Request) (any, error) {
	asked, err := read(r)
	if err != nil {
		return nil, err
	}
	probabilities, err := s.probabilities(r.Context(), asked.Image)
	if err != nil {
		return nil, err
	}
	best := slices.Index(probabilities, slices.Max(probabilities))
	label := fmt.Sprint(best)
	if best >= 0 && best < len(s.labels) {
		label = s.labels[best]
	}
	return map[string]any{"label": label, "class": best, "probabilities": probabilities}, nil
}

func (s *service) probabilities(ctx context.Context, image []float32) ([]float32, error) {
	x, err := caudal.NewTensor(image, 1, 28, 28, 1)
	if err != nil {
		return nil, err
	}
	out, err := s.session.Run(ctx, "predict", caudal.Tensors{"x": x})
	if err != nil {
		return nil, err
	}
	return caudal.Data[float32](out["output"])
}

func (s *service) feedback(r *http.Request) (any, error) {
	asked, err := read(r)
	if err != nil {
		return nil, err
	}
	if asked.Label == nil || *asked.Label < 0 || int(*asked.Label) >= s.classes {
		return nil, refuse(http.StatusBadRequest, "label is a class from 0 to %d", s.classes-1)
	}
	loss, err := s.learner.learn(r.Context(), asked.Image, *asked.Label)
	if err != nil {
		return nil, err
	}
	return map[string]any{"learned": true, "loss": loss}, nil
}

func (s *service) health(*http.Request) (any, error) {
	report, err := s.session.Report()
	if err != nil {
		return nil, err
	}
	return map[string]any{"status": "ok", "device": report.Device, "readers": report.Readers.Made}, nil
}
