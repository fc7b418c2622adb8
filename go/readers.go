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
	// parted sees to it that the memory is parted once.
	parted sync.Once
	// lock is never held while a space is entered: who is in one may ask what is left.
	lock   sync.Mutex
	made   int // guarded by lock, as all below
	most   int
	gone   bool
	memory uint64 // the limit of each; 0 is none
	base   uint64 // what the session takes without them
	idle   chan *reader
	// fewer has something in it when a reader was lost.
	fewer chan struct{}
	// evicted is closed when there are to be none any more.
	evicted chan struct{}
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
	return &readers{
		session: s,
		most:    most,
		idle:    make(chan *reader, most),
		fewer:   make(chan struct{}, 1),
		evicted: make(chan struct{}),
	}
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
	select {
	case found := <-r.idle:
		return found, nil
	default:
	}
	if r.mayMake() {
		made, err := r.session.newReader(r.memory)
		if err != nil {
			r.lost()
		}
		if errors.Is(err, ErrMemory) {
			r.enough()
			return nil, nil
		}
		return made, err
	}
	r.lock.Lock()
	most := r.most
	r.lock.Unlock()
	if most == 0 {
		return nil, nil
	}
	var late <-chan time.Time
	if limit := r.session.options.Limits.Duration; limit > 0 {
		timer := time.NewTimer(time.Until(c.start.Add(limit)))
		defer timer.Stop()
		late = timer.C
	}
	select {
	case found := <-r.idle:
		return found, nil
	case <-r.fewer:
		return r.take(c)
	case <-r.evicted:
		return nil, nil
	case <-c.ctx.Done():
		return nil, ended(c.function.Name, c.ctx)
	case <-late:
		return nil, tooLate(c.function.Name)
	}
}

// mayMake counts one more reader if there may be one.
func (r *readers) mayMake() bool {
	if r.session.options.Limits.Memory > 0 {
		r.parted.Do(r.share)
	}
	r.lock.Lock()
	defer r.lock.Unlock()
	if r.made >= r.most || r.gone {
		return false
	}
	r.made++
	return true
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

// count gives how many readers there are.
func (r *readers) count() int {
	r.lock.Lock()
	defer r.lock.Unlock()
	return r.made
}

// lost says that a reader is no more.
func (r *readers) lost() {
	r.lock.Lock()
	r.made--
	r.lock.Unlock()
	select {
	case r.fewer <- struct{}{}:
	default:
	}
}

// enough lets no more readers be made.
func (r *readers) enough() {
	r.lock.Lock()
	r.most = r.made
	r.lock.Unlock()
}

// evict waits for all readers and lets none be any more; whether there were some.
func (r *readers) evict() bool {
	if r == nil {
		return false
	}
	r.lock.Lock()
	if !r.gone {
		r.gone, r.most = true, 0
		close(r.evicted)
	}
	some := r.made > 0
	r.lock.Unlock()
	for r.count() > 0 {
		select {
		case found := <-r.idle:
			found.live.space.engine.Closer()()
			r.lost()
		case <-r.fewer:
		}
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
		s.readers.lost()
	} else {
		s.readers.idle <- r
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
