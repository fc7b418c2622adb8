// Serve is a service that predicts, learns from feedback and keeps what it has learned.
//
//	go run ./serve --file fashion.caudal --address localhost:8080
//
//	POST /predict   {"image": [784 numbers from 0 to 1]}              -> {"label": "Bag", "probabilities": [...]}
//	POST /feedback  {"image": [784 numbers from 0 to 1], "label": 8}  -> {"loss": 0.31, "learned": true}
//	GET  /healthz                                                     -> {"status": "ok", ...}
//
// The program has predict(x: float32[batch, 28, 28, 1]) and train_step(x, y: int32[batch]), as examples/demo.py and
// examples/go/train save them. Predictions run on as many goroutines as there are requests; feedback is learned from in
// batches. The file is saved whole or not at all: every so often, and at the end, which SIGTERM or Ctrl-C brings.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	caudal "github.com/caudal-project/caudal/go"
)

type settings struct {
	file, out, address string
	batch              int
	every              time.Duration
	limit              time.Duration
}

func main() {
	var s settings
	flag.StringVar(&s.file, "file", "fashion.caudal", "the program")
	flag.StringVar(&s.out, "out", "", "where to save it; left out, its own place")
	flag.StringVar(&s.address, "address", "localhost:8080", "where to listen")
	flag.IntVar(&s.batch, "batch", 16, "how many examples of feedback a step of training takes")
	flag.DurationVar(&s.every, "every", time.Minute, "how often to save what was learned")
	flag.DurationVar(&s.limit, "limit", 2*time.Second, "how long a call may take")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, s, func(address string) { slog.Info("listening", "address", address) }); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// run serves until ctx is done, then ends what runs, learns what it was told and saves. ready is called with the address.
func run(ctx context.Context, settings settings, ready func(address string)) error {
	if settings.batch < 1 || settings.every <= 0 {
		return errors.New("--batch and --every are above 0")
	}
	if settings.out == "" {
		settings.out = settings.file
	}
	session, err := caudal.Load(settings.file, &caudal.Options{Limits: caudal.Limits{Duration: settings.limit}})
	if err != nil {
		return err
	}
	defer session.Close()
	learner := newLearner(session, settings)
	service, err := newService(session, learner)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", settings.address)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler: service.handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10,
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	learned := make(chan error, 1)
	go func() { learned <- learner.run() }()
	ready(listener.Addr().String())
	select {
	case err = <-failed:
	case <-ctx.Done():
		// Requests that run get their answers.
		last, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		err = server.Shutdown(last)
	}
	learner.stop()
	return errors.Join(err, <-learned)
}
