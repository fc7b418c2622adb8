package main

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// A saver saves what was learned: now and then, and at the end.
type saver struct {
	learner *learner
	log     *slog.Logger
	path    string

	lock  sync.Mutex
	steps uint64    // of the saved file, since the start; guarded by lock, as is at
	at    time.Time // when it was saved; zero if it was not yet
}

// run saves in an interval until ctx is done.
func (s *saver) run(ctx context.Context, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			// The next time tries it again.
			if err := s.save(); err != nil {
				s.log.Error("not saved", "file", s.path, "error", err)
			}
		}
	}
}

// save saves if something was learned since the last time. The file is the old one or the whole new one.
func (s *saver) save() error {
	s.lock.Lock()
	defer s.lock.Unlock()
	// A step that comes now is in the file or not; it counts as not, and is saved the next time.
	steps := s.learner.learned().Steps
	if steps == s.steps {
		return nil
	}
	start := time.Now()
	if err := s.learner.model.session.SaveFile(s.path); err != nil {
		return err
	}
	s.steps, s.at = steps, time.Now()
	s.log.Info("saved", "file", s.path, "steps", steps, "took", time.Since(start))
	return nil
}

// saved gives the steps that are saved, and when that was.
func (s *saver) saved() (steps uint64, at time.Time) {
	s.lock.Lock()
	defer s.lock.Unlock()
	return s.steps, s.at
}
