package caudal

import (
	"errors"
	"sync"
	"time"

	"github.com/caudal-project/caudal/go/internal/engine"
)

// readers are the copies of a session's state in spaces of their own. Their number is bounded; under a limit of memory
// each has a limit of its own, and what the writer may take is less by these.
type readers struct {
	session *Session
	// shared parts the memory once, before the first reader is made.
	shared sync.Once
	// idle holds those that nobody uses; there is room for all.
	idle chan *reader

	// lock is never held while a space is entered: whoever is in one asks what is left.
	lock   sync.Mutex
	made   int // guarded by lock, as all below
	most   int
	gone   bool
	memory uint64 // the limit of each; 0 is none
	base   uint64 // what the session takes without them
	// fewer is closed, and replaced, when made or most has become less.
	fewer chan struct{}
}

// A reader is a copy of the state that functions read, used by one call at a time.
type reader struct {
	live *live
	// versions says of each state which version it holds; checked of each function when that was looked at.
	versions, checked []uint64
}

func newReaders(s *Session) *readers {
	most := s.options.readers()
	if len(s.reading()) == 0 {
		most = 0
	}
	return &readers{session: s, most: most, idle: make(chan *reader, most), fewer: make(chan struct{})}
}

// reading gives the names of the functions that only read state.
func (s *Session) reading() []string {
	var names []string
	for _, each := range s.program.info.functions {
		if len(each.Writes) == 0 {
			names = append(names, each.Name)
		}
	}
	return names
}

// left gives the limit of memory of calls on the writer: 0, which is the session's, as long as there are no readers.
func (r *readers) left() uint64 {
	if r == nil {
		return 0
	}
	r.lock.Lock()
	defer r.lock.Unlock()
	if r.made == 0 || r.memory == 0 {
		return 0
	}
	return r.session.options.Limits.Memory - r.base - uint64(r.made)*r.memory
}

// take gives a reader, which the caller gives back: one that nobody uses, or a new one, or the first that comes back.
// Nil means that there is none to be had, and the writer is to be waited for.
func (r *readers) take(c *call) (*reader, error) {
	var late <-chan time.Time
	if limit := r.session.options.Limits.Duration; limit > 0 {
		timer := time.NewTimer(time.Until(c.start.Add(limit)))
		defer timer.Stop()
		late = timer.C
	}
	for {
		select {
		case found := <-r.idle:
			return found, nil
		default:
		}
		may, fewer := r.mayMake()
		switch {
		case may:
			return r.make()
		case fewer == nil:
			return nil, nil
		}
		select {
		case found := <-r.idle:
			return found, nil
		case <-fewer:
		case <-c.ctx.Done():
			return nil, ended(c.function.Name, c.ctx)
		case <-late:
			return nil, tooLate(c.function.Name)
		}
	}
}

// mayMake counts one more reader if there may be one. If not it gives what is closed when that is to be asked again, nil
// if there are to be none at all.
func (r *readers) mayMake() (may bool, fewer <-chan struct{}) {
	if r.session.options.Limits.Memory > 0 {
		r.shared.Do(r.share)
	}
	r.lock.Lock()
	defer r.lock.Unlock()
	switch {
	case r.most == 0:
		return false, nil
	case r.made >= r.most:
		return false, r.fewer
	}
	r.made++
	return true, nil
}

// make makes a reader that was counted; nil if there is no memory for it.
func (r *readers) make() (*reader, error) {
	made, err := r.session.newReader(r.memory)
	if err == nil {
		return made, nil
	}
	enough := errors.Is(err, ErrMemory)
	r.lost(enough)
	if enough {
		return nil, nil
	}
	return nil, err
}

// share parts the memory: readers get half of what the program leaves.
func (r *readers) share() {
	s := r.session
	report, err := s.report()
	r.lock.Lock()
	defer r.lock.Unlock()
	if err != nil {
		r.most = 0
		return
	}
	var written, read uint64
	counted := map[int]bool{}
	for _, each := range s.functions {
		for _, state := range each.writes {
			written += once(counted, state, s.program.info.states[state].Bytes)
		}
	}
	clear(counted)
	for _, each := range s.functions {
		if len(each.writes) > 0 {
			continue
		}
		for _, state := range each.reads {
			read += once(counted, state, s.program.info.states[state].Bytes)
		}
	}
	limit := s.options.Limits.Memory
	r.base = report.Memory.Used + written
	if r.base >= limit {
		r.most = 0
		return
	}
	half := (limit - r.base) / 2
	// While it takes over state a reader holds the old and the new, and as much is for its calls.
	const state, overhead = 3, 1 << 20
	r.most = int(min(uint64(r.most), half/(state*read+overhead)))
	if r.most > 0 {
		r.memory = half / uint64(r.most)
	}
}

// once gives the bytes of state that was not counted before.
func once(counted map[int]bool, state int, bytes uint64) uint64 {
	if counted[state] {
		return 0
	}
	counted[state] = true
	return bytes
}

// lost says that a reader is no more; with enough no more are made.
func (r *readers) lost(enough bool) {
	r.lock.Lock()
	defer r.lock.Unlock()
	r.made--
	if enough {
		r.most = min(r.most, r.made)
	}
	r.wake()
}

// wake makes those that wait look again; the caller holds the lock.
func (r *readers) wake() {
	close(r.fewer)
	r.fewer = make(chan struct{})
}

// giveBack takes a reader that is not used any more.
func (r *readers) giveBack(used *reader) {
	r.lock.Lock()
	defer r.lock.Unlock()
	r.idle <- used
	if r.gone {
		r.drain()
	}
}

// drain closes the readers that nobody uses; the caller holds the lock.
func (r *readers) drain() {
	for {
		select {
		case found := <-r.idle:
			found.live.space.engine.Closer()()
			r.made--
		default:
			r.wake()
			return
		}
	}
}

// evict waits for all readers and lets none be any more; whether there were some.
func (r *readers) evict() bool {
	if r == nil {
		return false
	}
	r.lock.Lock()
	defer r.lock.Unlock()
	r.gone, r.most = true, 0
	some := r.made > 0
	r.drain()
	for r.made > 0 {
		fewer := r.fewer
		r.lock.Unlock()
		<-fewer
		r.lock.Lock()
	}
	return some
}

// newReader makes a copy of the state of this moment, under a limit of memory.
func (s *Session) newReader(memory uint64) (*reader, error) {
	f, err := s.live.space.enter()
	if err != nil {
		return nil, err
	}
	snapshot, err := s.snapshot(f)
	versions := append([]uint64(nil), s.versions...)
	f.leave()
	if err != nil {
		return nil, err
	}
	part, err := snapshot.Select(s.reading()...)
	if err != nil {
		return nil, err
	}
	space, err := newSpace()
	if err != nil {
		return nil, err
	}
	limits := Limits{Memory: memory, Duration: s.options.Limits.Duration}
	p, err := part.copyTo(space, limits)
	if err != nil {
		return nil, err
	}
	if f, err = space.enter(); err != nil {
		return nil, err
	}
	defer f.leave()
	made, err := newLive(f, p, s.options, p.limits)
	if err != nil {
		return nil, err
	}
	// By the indices of the session's functions.
	functions := make([]engine.Pointer, len(s.program.info.functions))
	for i, each := range p.info.functions {
		functions[s.functions[each.Name].index] = made.functions[i]
	}
	made.functions = functions
	return &reader{made, versions, make([]uint64, len(functions))}, nil
}

// onReader makes the call on a reader, and gives that back.
func (c *call) onReader(r *reader) (Tensors, error) {
	s := c.session
	err := s.takeOver(r, c.function)
	var outputs Tensors
	if err == nil {
		outputs, err = c.on(r.live, 0, false)
	}
	if errors.Is(err, ErrInternal) {
		s.readers.lost(false)
	} else {
		s.readers.giveBack(r)
	}
	return outputs, err
}

// takeOver gives a reader the state that a function reads, where that has changed.
func (s *Session) takeOver(r *reader, function *callable) error {
	if r.checked[function.index] == s.version.Load() {
		return nil
	}
	from, err := s.live.space.enter()
	if err != nil {
		return err
	}
	defer from.leave()
	to, err := r.live.space.enter()
	if err != nil {
		return err
	}
	defer to.leave()
	var names []string
	var tensors []uint64
	defer func() {
		for _, at := range tensors {
			to.free(engine.TensorFree, engine.Pointer(at))
		}
	}()
	for _, state := range function.reads {
		if r.versions[state] == s.versions[state] {
			continue
		}
		name := s.program.info.states[state].Name
		at, err := from.copyState(s.live, name, to)
		if err != nil {
			return err
		}
		names, tensors = append(names, name), append(tensors, uint64(at))
	}
	if err := r.live.setState(to, names, tensors); err != nil {
		return err
	}
	for _, state := range function.reads {
		r.versions[state] = s.versions[state]
	}
	r.checked[function.index] = s.version.Load()
	return nil
}

// copyState gives state as a tensor in another space, which the caller frees there.
func (f *frame) copyState(l *live, name string, to *frame) (engine.Pointer, error) {
	at, err := l.state(f, name)
	if err != nil {
		return 0, err
	}
	defer f.free(engine.TensorFree, at)
	t := f.view(at)
	made, err := to.newTensor(t.dtype, t.dims, 0, len(t.data))
	if err != nil {
		return 0, err
	}
	view, err := to.writable(made, len(t.data))
	if err == nil {
		copy(view, t.data)
	}
	return made, err
}
