package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	caudal "github.com/caudal-project/caudal/go"
)

// An example is a picture and its label.
type example struct {
	image []float32
	label int32
	// learned gets the loss of the step that the example was in, or why there was none.
	learned chan outcome
}

type outcome struct {
	loss float32
	err  error
}

// A learner gathers feedback to batches, trains, and saves.
type learner struct {
	session  *caudal.Session
	settings settings
	examples chan example
	done     chan struct{}
	ending   sync.Once
	changed  bool
}

// errBusy is feedback that comes faster than it can be learned from.
var errBusy = errors.New("there is too much feedback; try again later")

// errEnding is feedback that comes while the service ends.
var errEnding = errors.New("the service is ending")

// gather is how long an example waits for others to make a batch with.
const gather = 50 * time.Millisecond

func newLearner(session *caudal.Session, settings settings) *learner {
	const waiting = 1024
	return &learner{session: session, settings: settings, examples: make(chan example, waiting), done: make(chan struct{})}
}

// learn trains with an example; gives the loss of its batch.
func (l *learner) learn(ctx context.Context, image []float32, label int32) (float32, error) {
	each := example{image, label, make(chan outcome, 1)}
	select {
	case <-l.done:
		return 0, errEnding
	case l.examples <- each:
	default:
		return 0, errBusy
	}
	select {
	case found := <-each.learned:
		return found.loss, found.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (l *learner) stop() { l.ending.Do(func() { close(l.done) }) }

// run learns until stop, and saves what was learned then.
func (l *learner) run() error {
	ticker := time.NewTicker(l.settings.every)
	defer ticker.Stop()
	for {
		select {
		case first := <-l.examples:
			l.train(l.batch(first))
		case <-ticker.C:
			if err := l.save(); err != nil {
				// The next time may be better; what was learned is not lost.
				slog.Error("not saved", "error", err)
			}
		case <-l.done:
			for len(l.examples) > 0 {
				l.train(l.batch(<-l.examples))
			}
			return l.save()
		}
	}
}

// batch gives the first example and those that come soon after it.
func (l *learner) batch(first example) []example {
	batch := []example{first}
	late := time.After(gather)
	for len(batch) < l.settings.batch {
		select {
		case next := <-l.examples:
			batch = append(batch, next)
		case <-late:
			return batch
		}
	}
	return batch
}

func (l *learner) train(batch []example) {
	loss, err := l.step(batch)
	if err == nil {
		l.changed = true
	}
	for _, each := range batch {
		each.learned <- outcome{loss, err}
	}
}

func (l *learner) step(batch []example) (float32, error) {
	images, labels := make([]float32, 0, pixels*len(batch)), make([]int32, 0, len(batch))
	for _, each := range batch {
		images, labels = append(images, each.image...), append(labels, each.label)
	}
	x, err := caudal.NewTensor(images, len(batch), 28, 28, 1)
	if err != nil {
		return 0, err
	}
	y, err := caudal.NewTensor(labels, len(batch))
	if err != nil {
		return 0, err
	}
	out, err := l.session.Run(context.Background(), "train_step", caudal.Tensors{"x": x, "y": y})
	if err != nil {
		return 0, err
	}
	return caudal.Scalar[float32](out["loss"])
}

// save keeps what was learned since the last time.
func (l *learner) save() error {
	if !l.changed {
		return nil
	}
	if err := l.session.SaveFile(l.settings.out); err != nil {
		return err
	}
	l.changed = false
	slog.Info("saved", "file", l.settings.out)
	return nil
}
