package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	caudal "github.com/caudal-project/caudal/go"
)

// A service is a program file behind HTTP.
type service struct {
	options  *options
	log      *slog.Logger
	model    *model
	learner  *learner
	saver    *saver
	stopping atomic.Bool
}

// newService opens the file.
func newService(o *options, log *slog.Logger) (*service, error) {
	session, err := caudal.Load(o.file, &caudal.Options{
		Limits: caudal.Limits{Memory: o.memory << 20}, Readers: o.readers, Logger: log,
	})
	if err != nil {
		return nil, err
	}
	m, err := newModel(session)
	if err != nil {
		_ = session.Close()
		return nil, fmt.Errorf("%s: %w", o.file, err)
	}
	l := newLearner(m, log, o)
	return &service{options: o, log: log, model: m, learner: l, saver: &saver{learner: l, log: log, path: o.save}}, nil
}

// run serves until ctx is done, and then stops: it answers the requests that it has, learns the feedback that it took,
// saves, and closes the session. It owns the listener.
func (s *service) run(ctx context.Context, listener net.Listener) error {
	// These go on when ctx is done: stop ends them, one after the other.
	learning, dropRest := context.WithCancel(context.Background())
	defer dropRest()
	saving, stopSaving := context.WithCancel(context.Background())
	defer stopSaving()
	go s.learner.run(learning)
	go s.saver.run(saving, s.options.every)
	server := &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: s.options.timeout,
		ReadTimeout:       s.options.timeout,
		WriteTimeout:      2 * s.options.timeout,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	s.log.Info("serving", "address", listener.Addr().String(), "file", s.options.file, "save", s.options.save)
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	return errors.Join(err, s.stop(server, dropRest, stopSaving))
}

// stop ends what run began, in at most the grace that the options give, and the time to save.
func (s *service) stop(server *http.Server, dropRest, stopSaving func()) error {
	s.stopping.Store(true)
	s.log.Info("stopping")
	grace, cancel := context.WithTimeout(context.Background(), s.options.grace)
	defer cancel()
	defer context.AfterFunc(grace, dropRest)()
	err := server.Shutdown(grace)
	if err != nil {
		err = errors.Join(fmt.Errorf("requests were cut off: %w", err), server.Close())
	}
	s.learner.close()
	stopSaving()
	err = errors.Join(err, s.saver.save(), s.model.session.Close())
	s.log.Info("stopped", "learned", s.learner.learned())
	return err
}
