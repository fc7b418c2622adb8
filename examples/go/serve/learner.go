package main

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// A learner trains the model on feedback in the background: a bounded queue, and one goroutine that makes the steps.
type learner struct {
	model *model
	log   *slog.Logger
	// batch is how many examples a step has at most; wait is how long the first of them waits for others.
	batch int
	wait  time.Duration
	queue chan example
	done  chan struct{}

	lock   sync.Mutex
	closed bool // guarded by lock, as is learned
	state  learned
}

// learned is what a learner did.
type learned struct {
	// Steps and Examples are learned, since the start; Lost are examples whose step failed.
	Steps    uint64 `json:"steps"`
	Examples uint64 `json:"examples"`
	Lost     uint64 `json:"lost"`
	// Loss is that of the last step's examples before it; nil before the first.
	Loss *float32 `json:"loss"`
	// Queued are the examples that wait, and Queue is how many may.
	Queued int `json:"queued"`
	Queue  int `json:"queue"`
}

func newLearner(m *model, log *slog.Logger, o *options) *learner {
	return &learner{
		model: m, log: log, batch: o.batch, wait: o.wait, queue: make(chan example, o.queue), done: make(chan struct{}),
	}
}

// offer puts an example into the queue; gives how many there are now.
//
// Errors: errQueueFull, errStopping.
func (l *learner) offer(e example) (int, error) {
	l.lock.Lock()
	defer l.lock.Unlock()
	if l.closed {
		return 0, errStopping
	}
	select {
	case l.queue <- e:
		return len(l.queue), nil
	default:
		return 0, errQueueFull
	}
}

// run learns until close, and then what is in the queue; when ctx is done it drops the rest.
func (l *learner) run(ctx context.Context) {
	defer close(l.done)
	for first := range l.queue {
		l.step(ctx, l.gather(ctx, first))
	}
}

// gather gives a batch: what comes in time, or what there is when the queue is closed.
func (l *learner) gather(ctx context.Context, first example) []example {
	batch := []example{first}
	late := time.NewTimer(l.wait)
	defer late.Stop()
	for len(batch) < l.batch {
		select {
		case next, open := <-l.queue:
			if !open {
				return batch
			}
			batch = append(batch, next)
		case <-late.C:
			return batch
		case <-ctx.Done():
			return batch
		}
	}
	return batch
}

// step learns a batch.
func (l *learner) step(ctx context.Context, batch []example) {
	start := time.Now()
	loss, err := l.model.learn(ctx, batch)
	l.lock.Lock()
	defer l.lock.Unlock()
	if err != nil {
		l.state.Lost += uint64(len(batch))
		l.log.Error("not learned", "examples", len(batch), "error", err)
		return
	}
	l.state.Steps++
	l.state.Examples += uint64(len(batch))
	l.state.Loss = &loss
	l.log.Info("learned", "steps", l.state.Steps, "examples", len(batch), "loss", loss, "took", time.Since(start))
}

// learned gives what was done until now.
func (l *learner) learned() learned {
	l.lock.Lock()
	defer l.lock.Unlock()
	now := l.state
	now.Queued, now.Queue = len(l.queue), cap(l.queue)
	return now
}

// close takes no more examples, and waits until those in the queue are learned or dropped.
func (l *learner) close() {
	l.lock.Lock()
	if !l.closed {
		l.closed = true
		close(l.queue)
	}
	l.lock.Unlock()
	<-l.done
}
