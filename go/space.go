package caudal

import (
	"context"
	"runtime"
	"sync"

	"github.com/caudal-project/caudal/go/internal/engine"
)

// A space is an engine with what lives in its memory. One that is not shared runs one call at a time, which its lock
// sees to.
type space struct {
	engine engine.Engine
	shared bool

	lock   sync.Mutex
	broken error    // what a trap said; guarded by lock
	idle   []*frame // frames that nobody uses; guarded by lists
	dead   []dead   // handles that nobody holds any more; guarded by lists
	lists  sync.Mutex
}

// dead is a handle to be freed by a function.
type dead struct {
	free engine.Function
	at   engine.Pointer
}

func newSpace() (*space, error) {
	e, err := newEngine()
	if err != nil {
		return nil, internal("the library does not start: " + err.Error())
	}
	s := &space{engine: e, shared: e.Shared()}
	runtime.AddCleanup(s, func(closer func()) { closer() }, e.Closer())
	return s, nil
}

// process is the space of graphs, ops run at once and, where spaces are shared, everything else.
var process struct {
	lock  sync.Mutex
	space *space
}

func processSpace() (*space, error) {
	process.lock.Lock()
	defer process.lock.Unlock()
	if process.space == nil || process.space.isBroken() {
		made, err := newSpace()
		if err != nil {
			return nil, err
		}
		process.space = made
	}
	return process.space, nil
}

// ownSpace gives a space for one program: a new one, unless spaces are shared.
func ownSpace() (*space, error) {
	s, err := processSpace()
	if err != nil || s.shared {
		return s, err
	}
	return newSpace()
}

func (s *space) isBroken() bool {
	if s.shared || !s.lock.TryLock() {
		return false
	}
	defer s.lock.Unlock()
	return s.broken != nil
}

// enter waits for the space and gives a frame to call its functions with. The caller leaves it.
func (s *space) enter() (*frame, error) {
	if !s.shared {
		s.lock.Lock()
	}
	return s.entered(false)
}

// tryEnter is enter without waiting; the frame is nil if the space is in use.
func (s *space) tryEnter() (*frame, error) {
	if !s.shared && !s.lock.TryLock() {
		return nil, nil
	}
	return s.entered(false)
}

// enterToRead is enter for reading what was committed, which is tried on a broken space, too.
func (s *space) enterToRead() (*frame, error) {
	if !s.shared {
		s.lock.Lock()
	}
	return s.entered(true)
}

func (s *space) entered(evenBroken bool) (*frame, error) {
	if !s.shared && s.broken != nil && !evenBroken {
		err := s.broken
		s.lock.Unlock()
		return nil, err
	}
	s.lists.Lock()
	var f *frame
	if last := len(s.idle) - 1; last >= 0 {
		f, s.idle = s.idle[last], s.idle[:last]
	}
	gone := s.dead
	s.dead = nil
	s.lists.Unlock()
	if f == nil {
		f = &frame{space: s, engine: s.engine, word: s.engine.Word()}
		f.base = f.reserve(frameSize)
		if f.base == 0 {
			f.err = noMemory()
		}
	}
	for _, each := range gone {
		f.free(each.free, each.at)
	}
	return f, nil
}

// noMemory is the error of the module's memory having come to its end.
func noMemory() error { return &Error{Code: CodeMemory, Message: "there is no memory"} }

// watch makes the calls of this frame end when ctx is done, in spaces that are not shared.
func (f *frame) watch(ctx context.Context) {
	if !f.space.shared && ctx.Done() != nil {
		f.engine.Watch(ctx)
	}
}

// leave gives the frame and the space back.
func (f *frame) leave() {
	for _, block := range f.blocks {
		f.raw(engine.Dealloc, uint64(block.at), uint64(block.size))
	}
	f.blocks, f.used = f.blocks[:0], 0
	s := f.space
	if f.base != 0 {
		f.err = nil
		s.lists.Lock()
		s.idle = append(s.idle, f)
		s.lists.Unlock()
	}
	if !s.shared {
		s.engine.Watch(context.Background())
		s.lock.Unlock()
	}
}

// bury frees a handle at the next call; from any goroutine, without waiting.
func (s *space) bury(free engine.Function, at engine.Pointer) {
	s.lists.Lock()
	s.dead = append(s.dead, dead{free, at})
	s.lists.Unlock()
}

// A handle is something of the C API that is freed when nobody holds it. Whoever passes its address to a call keeps it
// alive until that has returned.
type handle struct {
	space *space
	at    engine.Pointer
}

// own makes a handle; free is the function that frees it.
func (s *space) own(at engine.Pointer, free engine.Function) *handle {
	h := &handle{s, at}
	runtime.AddCleanup(h, func(gone dead) { s.bury(gone.free, gone.at) }, dead{free, at})
	return h
}
