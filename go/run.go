package caudal

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/caudal-project/caudal/go/internal/engine"
)

// Run calls a function with inputs by name; gives its outputs by name. When ctx is done the call ends, and the state is
// as it was before; a nil ctx is never done.
//
// Errors: ErrName if there is no such function or input, ErrArgument if an input is missing or nil, ErrDType and
// ErrShape if one does not fit; ErrDeadline and ErrCancelled, which also match what ctx says, ErrMemory at the limits;
// ErrClosed.
func (s *Session) Run(ctx context.Context, name string, inputs Tensors) (Tensors, error) {
	start := time.Now()
	if ctx == nil {
		ctx = context.Background()
	}
	if err := s.begin(); err != nil {
		return nil, err
	}
	defer s.end()
	function, err := s.function(name)
	if err != nil {
		return nil, err
	}
	if err := function.fits(inputs); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, ended(name, ctx)
	}
	c := &call{s, ctx, function, inputs, start}
	var outputs Tensors
	if len(function.writes) > 0 {
		outputs, err = c.write()
	} else {
		outputs, err = c.read()
	}
	if (errors.Is(err, ErrCancelled) || errors.Is(err, ErrDeadline)) && ctx.Err() != nil {
		return nil, ended(name, ctx)
	}
	return outputs, err
}

// fits tells what is wrong with the names and dtypes of inputs.
func (c *callable) fits(inputs Tensors) error {
	for _, input := range c.Inputs {
		t, there := inputs[input.Name]
		switch {
		case !there:
			return c.misfit(inputs)
		case t == nil:
			return refuse(CodeArgument, c.Name, input.Name, "%s: the tensor is nil", input.Name)
		}
	}
	if len(inputs) > len(c.Inputs) {
		return c.misfit(inputs)
	}
	for _, input := range c.Inputs {
		if t := inputs[input.Name]; t.dtype != input.Spec.DType {
			return refuse(CodeDType, c.Name, input.Name, "%s is %s, expected %s; give it elements of that dtype",
				input.Name, t, input.Spec)
		}
	}
	return nil
}

// misfit says which input is unknown or missing.
func (c *callable) misfit(inputs Tensors) error {
	var known []string
	for _, input := range c.Inputs {
		known = append(known, input.Name)
	}
	takes := "it takes " + strings.Join(known, ", ")
	if len(known) == 0 {
		takes = "it takes no inputs"
	}
	for _, name := range sortedNames(inputs) {
		if !slices.Contains(known, name) {
			return refuse(CodeName, c.Name, name, "there is no input %s; %s", quote(name), takes)
		}
	}
	for _, name := range known {
		if _, there := inputs[name]; !there {
			return refuse(CodeArgument, c.Name, name, "the input %s is missing; %s", name, takes)
		}
	}
	return nil
}

func sortedNames[V any](values map[string]V) []string {
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func tooLate(op string) error {
	return refuse(CodeDeadline, op, "", "the call took longer than its limit in seconds")
}

// A call is a function called with inputs.
type call struct {
	session  *Session
	ctx      context.Context
	function *callable
	inputs   Tensors
	start    time.Time
}

// write calls a function that writes state.
func (c *call) write() (Tensors, error) {
	s := c.session
	if err := s.write(c.ctx, c.function.Name, c.start); err != nil {
		return nil, err
	}
	defer s.written()
	outputs, err := c.on(s.live, s.readers.left(), true)
	if errors.Is(err, ErrMemory) && s.readers.evict() {
		// Now there is as much as if there had never been any.
		return c.on(s.live, 0, true)
	}
	return outputs, err
}

// read calls a function that only reads state: where the writer is in use, on a reader.
func (c *call) read() (Tensors, error) {
	s := c.session
	if s.live.space.shared {
		return c.on(s.live, 0, false)
	}
	if len(s.writing) == 0 {
		f, err := s.live.space.tryEnter()
		if err != nil {
			return nil, err
		}
		if f != nil {
			return c.entered(f, s.live, s.readers.left(), true)
		}
	}
	r, err := s.readers.take(c)
	if err != nil {
		return nil, err
	}
	if r == nil {
		return c.on(s.live, s.readers.left(), true)
	}
	outputs, err := c.onReader(r)
	if errors.Is(err, ErrMemory) && s.options.Limits.Memory > 0 {
		// It has a part of what there is.
		return c.on(s.live, s.readers.left(), true)
	}
	return outputs, err
}

// on makes the call in a live session, with that limit of memory (0: the session's); in pieces, others get between them.
func (c *call) on(l *live, memory uint64, pieces bool) (Tensors, error) {
	f, err := l.space.enter()
	if err != nil {
		return nil, err
	}
	return c.entered(f, l, memory, pieces)
}

// entered is on with the frame, which it leaves.
func (c *call) entered(f *frame, l *live, memory uint64, pieces bool) (Tensors, error) {
	limits, release, err := c.limits(f, memory)
	if err != nil {
		f.leave()
		return nil, err
	}
	defer release()
	f.watch(c.ctx)
	outputs, rest, err := c.begin(f, l, limits, pieces && !f.space.shared)
	for rest != 0 && err == nil {
		f.leave()
		if f, err = l.space.enter(); err != nil {
			return nil, err
		}
		f.watch(c.ctx)
		outputs, rest, err = c.resume(f, rest)
	}
	f.leave()
	return outputs, err
}

// limits makes the limits of this call alone, where it needs some: 0 are the session's.
func (c *call) limits(f *frame, memory uint64) (engine.Pointer, func(), error) {
	const fresh = time.Millisecond
	seconds := 0.0
	if limit := c.session.options.Limits.Duration; limit > 0 {
		if waited := time.Since(c.start); waited > limit {
			return 0, nil, tooLate(c.function.Name)
		} else if waited > fresh {
			seconds = (limit - waited).Seconds()
		}
	}
	watched := f.space.shared && c.ctx.Done() != nil
	if memory == 0 && seconds == 0 && !watched {
		return 0, func() {}, nil
	}
	at, err := f.newLimits(memory, seconds)
	if err != nil {
		return 0, nil, err
	}
	s := f.space
	if !watched {
		return at, func() { s.bury(engine.LimitsFree, at) }, nil
	}
	cancelled := make(chan struct{})
	stop := context.AfterFunc(c.ctx, func() {
		stack := [1]uint64{uint64(at)}
		_ = s.engine.Call(engine.LimitsCancel, stack[:])
		close(cancelled)
	})
	return at, func() {
		if !stop() {
			<-cancelled
		}
		s.bury(engine.LimitsFree, at)
	}, nil
}

// begin starts the call; gives its outputs, or the rest where it was handed back.
func (c *call) begin(f *frame, l *live, limits engine.Pointer, pieces bool) (Tensors, engine.Pointer, error) {
	var room [8]uint64
	inputs := room[:0]
	defer func() {
		for _, at := range inputs {
			f.free(engine.TensorFree, engine.Pointer(at))
		}
	}()
	for _, input := range c.function.Inputs {
		at, err := f.tensor(c.inputs[input.Name])
		if err != nil {
			return nil, 0, err
		}
		inputs = append(inputs, uint64(at))
	}
	n := len(c.function.Outputs)
	outputs, rest := f.words(n, nil), uint64(0)
	if pieces {
		rest = f.slot()
	}
	err := f.call(engine.FunctionRun, uint64(l.functions[c.function.index]), f.words(len(inputs), inputs),
		uint64(len(inputs)), uint64(limits), outputs, uint64(n), rest)
	if err != nil {
		return nil, 0, err
	}
	if pieces {
		if unfinished := f.load(rest); unfinished != 0 {
			return nil, unfinished, nil
		}
	}
	done, err := c.done(f, outputs)
	return done, 0, err
}

// pieceSeconds is how long a piece of a call takes, and so how long others wait for the space.
const pieceSeconds = 0.008

// resume goes on with a call that was handed back; it is freed with its end.
func (c *call) resume(f *frame, at engine.Pointer) (Tensors, engine.Pointer, error) {
	n := len(c.function.Outputs)
	outputs, done := f.words(n, nil), f.slot()
	err := f.call(engine.CallResume, uint64(at), float(pieceSeconds), outputs, uint64(n), done)
	if err == nil && f.load32(done) == 0 {
		return nil, at, nil
	}
	f.free(engine.CallFree, at)
	if err != nil {
		return nil, 0, err
	}
	taken, err := c.done(f, outputs)
	return taken, 0, err
}

// done takes the outputs of a call that has come to its end.
func (c *call) done(f *frame, at uint64) (Tensors, error) {
	if len(c.function.writes) > 0 && !f.space.shared {
		c.session.changed(c.function.writes)
	}
	taken, err := f.takeAll(at, len(c.function.Outputs))
	if err != nil {
		return nil, err
	}
	outputs := make(Tensors, len(taken))
	for i, output := range c.function.Outputs {
		outputs[output.Name] = taken[i]
	}
	return outputs, nil
}
