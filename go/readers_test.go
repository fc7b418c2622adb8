//go:build !caudal_native

package caudal

import (
	"context"
	"testing"
	"time"
)

// adding makes a session whose predict gives w + w, under a limit of memory, with up to two readers.
func adding(t *testing.T) *Session {
	t.Helper()
	g := NewGraph()
	w := g.State("w", MustTensor([]float32{1, 2}, 2))
	g.Function("predict", Outputs{"output": Apply(g, "add", nil, w, w)[0]})
	p, err := g.Program(nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := p.Session(&Options{Readers: 2, Limits: Limits{Memory: 64 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ends fails the test if something does not come to its end.
func ends(t *testing.T, what string, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s does not end", what)
	}
}

func TestWhoeverIsInASpaceMayAskWhatReadersLeave(t *testing.T) {
	s := adding(t)
	f, err := s.live.space.enter()
	if err != nil {
		t.Fatal(err)
	}
	counted := make(chan bool)
	go func() {
		may, _ := s.readers.mayMake()
		counted <- may
	}()
	// Until it waits for the space, to ask how much memory there is.
	time.Sleep(20 * time.Millisecond)
	ends(t, "asking", func() { s.readers.left() })
	f.leave()
	if !<-counted {
		t.Error("there may be no reader")
	}
}

func TestAReaderThatIsLostIsNotWaitedFor(t *testing.T) {
	for _, enough := range []bool{false, true} {
		s := adding(t)
		if may, _ := s.readers.mayMake(); !may {
			t.Fatal("there may be no reader")
		}
		evicted := make(chan bool, 1)
		go func() { evicted <- s.readers.evict() }()
		for gone := false; !gone; time.Sleep(time.Millisecond) {
			s.readers.lock.Lock()
			gone = s.readers.gone
			s.readers.lock.Unlock()
		}
		s.readers.lost(enough)
		ends(t, "eviction", func() {
			if !<-evicted {
				t.Error("there were no readers")
			}
		})
	}
}

func TestWhoeverWaitsForAReaderGoesToTheWriterWhenThereIsNone(t *testing.T) {
	s := adding(t)
	for range 2 {
		if may, _ := s.readers.mayMake(); !may {
			t.Fatal("there may not be two readers")
		}
	}
	found := make(chan *reader, 1)
	go func() {
		r, err := s.readers.take(&call{s, context.Background(), s.functions["predict"], nil, time.Now()})
		if err != nil {
			t.Error(err)
		}
		found <- r
	}()
	time.Sleep(20 * time.Millisecond)
	s.readers.lost(true)
	s.readers.lost(true)
	ends(t, "waiting", func() {
		if r := <-found; r != nil {
			t.Errorf("a reader came of nowhere: %v", r)
		}
	})
}
