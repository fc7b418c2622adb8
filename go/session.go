package caudal

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caudal-project/caudal/go/internal/engine"
)

// A Session is a program with live state; [Load] and [Program.Session] make it. All methods may be called from many
// goroutines: calls that write state run one after the other, the others beside them, each on one version of the state.
// A call that begins after one that writes has returned sees its state.
//
// Without the tag caudal_native a session has one writer, whose state is the truth, and up to [Options.Readers]
// readers, copies of the state that functions read, which take over what has changed before they run.
type Session struct {
	program *Program
	options Options
	limits  *sharedLimits
	live    *live
	// functions by name.
	functions map[string]*callable

	closed atomic.Bool
	// gate is held by calls, and by Close while it waits for them.
	gate sync.RWMutex
	// writing is full while something writes state.
	writing chan struct{}

	version atomic.Uint64
	// versions says of each state when it was written last; guarded by the lock of the live session's space.
	versions []uint64
	readers  *readers
}

// live is a session of the core in some space.
type live struct {
	space  *space
	handle *handle
	// functions are the addresses of the session's functions, 0 for those that it has not.
	functions []engine.Pointer
}

// A callable is a function of a session, made ready for calls.
type callable struct {
	*Function
	index         int
	reads, writes []int
}

// Session makes a session of the program.
//
// Errors: ErrDevice if there is no such device.
func (p *Program) Session(options *Options) (*Session, error) {
	o := options.value()
	if o.Device == "" {
		o.Device = "cpu"
	}
	if !p.handle.space.shared && !p.claimed.CompareAndSwap(false, true) {
		s, err := newSpace()
		if err != nil {
			return nil, err
		}
		if p, err = p.copyTo(s, o.Limits); err != nil {
			return nil, err
		}
		p.claimed.Store(true)
	}
	s := &Session{program: p, options: o, writing: make(chan struct{}, 1)}
	if err := s.prepare(); err != nil {
		return nil, err
	}
	report, err := s.Report()
	if err != nil {
		return nil, err
	}
	logger := o.Logger
	if logger == nil {
		logger = slog.Default()
	}
	for _, note := range report.Notes {
		logger.Warn(note)
	}
	return s, nil
}

func (s *Session) prepare() error {
	p := s.program
	f, err := p.handle.space.enter()
	if err != nil {
		return err
	}
	defer f.leave()
	s.limits = p.limits
	if s.limits == nil || s.limits.value != s.options.Limits {
		if s.limits, err = f.limits(s.options.Limits); err != nil {
			return err
		}
	}
	if s.live, err = newLive(f, p, s.options, s.limits); err != nil {
		return err
	}
	s.versions = make([]uint64, len(p.info.states))
	s.functions = make(map[string]*callable, len(p.info.functions))
	index := func(names []string) []int {
		var indices []int
		for _, name := range names {
			indices = append(indices, p.info.state(name))
		}
		return indices
	}
	for i := range p.info.functions {
		each := &p.info.functions[i]
		s.functions[each.Name] = &callable{each, i, index(each.Reads), index(each.Writes)}
	}
	if !p.handle.space.shared {
		s.readers = newReaders(s)
	}
	return nil
}

func newLive(f *frame, p *Program, options Options, limits *sharedLimits) (*live, error) {
	text, err := json.Marshal(map[string]any{"device": options.Device, "strict": options.Strict, "debug": options.Debug})
	if err != nil {
		return nil, err
	}
	json, n := f.string(string(text))
	at, err := f.out(engine.ProgramSession, uint64(p.handle.at), json, n, limits.address())
	runtime.KeepAlive(p.handle)
	runtime.KeepAlive(limits)
	if err != nil {
		return nil, err
	}
	l := &live{space: f.space, handle: f.space.own(at, engine.SessionFree)}
	for _, each := range p.info.functions {
		name, n := f.string(each.Name)
		function, err := f.out(engine.SessionFunction, uint64(at), name, n)
		if err != nil {
			return nil, err
		}
		l.functions = append(l.functions, function)
	}
	return l, nil
}

// Program gives the program that the session was made of.
func (s *Session) Program() *Program { return s.program }

// errClosed is what calls after Close get.
func errClosed() error { return refuse(CodeClosed, "", "", "the session is closed") }

// begin lets a call in, until end.
func (s *Session) begin() error {
	if s.closed.Load() {
		return errClosed()
	}
	s.gate.RLock()
	if s.closed.Load() {
		s.gate.RUnlock()
		return errClosed()
	}
	return nil
}

func (s *Session) end() {
	runtime.KeepAlive(s.live.handle)
	s.gate.RUnlock()
}

// Close waits for running calls; later ones fail with ErrClosed. It may be called twice. A session that nobody holds
// any more needs no Close.
func (s *Session) Close() error {
	s.closed.Store(true)
	s.gate.Lock()
	defer s.gate.Unlock()
	if s.readers != nil {
		s.readers.evict()
	}
	f, err := s.live.space.enter()
	if err != nil {
		// What was broken is closed.
		return nil
	}
	defer runtime.KeepAlive(s.live.handle)
	defer f.leave()
	return f.call(engine.SessionClose, uint64(s.live.handle.at))
}

// write waits until nothing else writes state; the caller calls done.
func (s *Session) write(ctx context.Context, op string, start time.Time) error {
	select {
	case s.writing <- struct{}{}:
		return nil
	default:
	}
	var late <-chan time.Time
	if limit := s.options.Limits.Duration; limit > 0 && op != "" {
		timer := time.NewTimer(time.Until(start.Add(limit)))
		defer timer.Stop()
		late = timer.C
	}
	select {
	case s.writing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ended(op, ctx)
	case <-late:
		return tooLate(op)
	}
}

func (s *Session) written() { <-s.writing }

// changed says that states were written; the caller holds the space.
func (s *Session) changed(states []int) {
	version := s.version.Load() + 1
	for _, state := range states {
		s.versions[state] = version
	}
	s.version.Store(version)
}

// State gives the value of state now. It is tried even where a mistake in caudal has made the session useless.
//
// Errors: ErrName if there is none of that name, ErrClosed.
func (s *Session) State(name string) (*Tensor, error) {
	if err := s.begin(); err != nil {
		return nil, err
	}
	defer s.end()
	f, err := s.live.space.enterToRead()
	if err != nil {
		return nil, err
	}
	defer f.leave()
	at, err := s.live.state(f, name)
	if err != nil {
		return nil, err
	}
	return f.take(at)
}

// state gives a tensor of the space, which the caller frees.
func (l *live) state(f *frame, name string) (engine.Pointer, error) {
	text, n := f.string(name)
	return f.out(engine.SessionState, uint64(l.handle.at), text, n)
}

// SetState sets state, all of it or, on an error, none; it waits for calls that write.
//
// Errors: ErrName if there is none of that name, ErrDType and ErrShape for a tensor that does not fit, ErrArgument for a
// nil one, ErrClosed.
func (s *Session) SetState(values Tensors) error {
	if err := s.begin(); err != nil {
		return err
	}
	defer s.end()
	names := sortedNames(values)
	states := make([]int, len(names))
	for i, name := range names {
		if states[i] = s.program.info.state(name); states[i] < 0 {
			return s.program.info.noState(name)
		}
		if values[name] == nil {
			return refuse(CodeArgument, "", name, "%s: the tensor is nil", name)
		}
	}
	if err := s.write(context.Background(), "", time.Time{}); err != nil {
		return err
	}
	defer s.written()
	f, err := s.live.space.enter()
	if err != nil {
		return err
	}
	defer f.leave()
	tensors := make([]uint64, 0, len(names))
	defer func() {
		for _, at := range tensors {
			f.free(engine.TensorFree, engine.Pointer(at))
		}
	}()
	for _, name := range names {
		at, err := f.tensor(values[name])
		if err != nil {
			return err
		}
		tensors = append(tensors, uint64(at))
	}
	err = s.live.setState(f, names, tensors)
	if err == nil {
		s.changed(states)
	}
	return err
}

func (l *live) setState(f *frame, names []string, tensors []uint64) error {
	return f.call(engine.SessionSetState, uint64(l.handle.at), f.names(names), f.words(len(tensors), tensors),
		uint64(len(names)))
}

// Snapshot gives a program with the state of this moment, made without a copy: to save, undo, clone.
//
// Errors: ErrClosed.
func (s *Session) Snapshot() (*Program, error) {
	if err := s.begin(); err != nil {
		return nil, err
	}
	defer s.end()
	f, err := s.live.space.enterToRead()
	if err != nil {
		return nil, err
	}
	defer f.leave()
	return s.snapshot(f)
}

func (s *Session) snapshot(f *frame) (*Program, error) {
	at, err := f.out(engine.SessionSnapshot, uint64(s.live.handle.at))
	if err != nil {
		return nil, err
	}
	return f.space.program(f, at, s.program.info, true)
}

// Restore takes the state of a program, by name: what both have.
//
// Errors: ErrDType and ErrShape for state that does not fit, ErrClosed; nothing is changed then.
func (s *Session) Restore(p *Program) error { return s.restore(p, 0) }

// RestoreStrict is Restore for a program that has the same names of state.
//
// Errors: those of Restore; ErrName for a name that only one of them has.
func (s *Session) RestoreStrict(p *Program) error { return s.restore(p, 1) }

func (s *Session) restore(p *Program, strict uint64) error {
	if err := s.begin(); err != nil {
		return err
	}
	defer s.end()
	if p == nil {
		return refuse(CodeArgument, "restore", "program", "the program is nil")
	}
	if p.handle.space != s.live.space {
		var err error
		if p, err = p.copyTo(s.live.space, Limits{}); err != nil {
			return err
		}
	}
	if err := s.write(context.Background(), "", time.Time{}); err != nil {
		return err
	}
	defer s.written()
	f, err := s.live.space.enter()
	if err != nil {
		return err
	}
	defer f.leave()
	err = f.call(engine.SessionRestore, uint64(s.live.handle.at), uint64(p.handle.at), strict)
	runtime.KeepAlive(p.handle)
	if err == nil {
		var states []int
		for _, state := range p.info.states {
			if index := s.program.info.state(state.Name); index >= 0 {
				states = append(states, index)
			}
		}
		s.changed(states)
	}
	return err
}

// Save writes the program with the state of this moment.
func (s *Session) Save(w io.Writer) error {
	p, err := s.Snapshot()
	if err != nil {
		return err
	}
	return p.Save(w)
}

// SaveFile saves the program with the state of this moment; see [Program.SaveFile].
func (s *Session) SaveFile(path string) error {
	p, err := s.Snapshot()
	if err != nil {
		return err
	}
	return p.SaveFile(path)
}

// function gives what is called by a name.
func (s *Session) function(name string) (*callable, error) {
	if found := s.functions[name]; found != nil {
		return found, nil
	}
	return nil, s.program.info.noFunction(name)
}
