package caudal

import (
	"log/slog"
	"math"
	"runtime"
	"time"

	"github.com/caudal-project/caudal/go/internal/engine"
)

// Limits are what opening a file and each call may spend; 0 is no limit.
type Limits struct {
	// Memory is how many bytes all calls of a session together may hold at once, beside their inputs; the session's
	// state and the copies of it that readers hold count.
	Memory uint64
	// Duration is how long each call may take from its start, waiting included.
	Duration time.Duration
}

// Options say how a program is opened and run. Nil and the zero value are the same.
type Options struct {
	// Device is cpu, which is the default, gpu:0, or auto: a hardware GPU, else the CPU.
	Device string
	// Strict makes it an error if something would run elsewhere than on the device.
	Strict bool
	// Debug checks calls, for finding mistakes: they are slower, and an index outside of its axis is an error with the
	// user's line, as are a division of an integer by 0, a number that an integer dtype does not hold, and NaN made of
	// operands without.
	Debug bool
	// Limits are what opening and each call may spend.
	Limits Limits
	// Readers is how many copies of the state that functions read, at most, are made for calls that run at the same
	// time; a negative number is none, 0 as many as GOMAXPROCS. A copy is made when a call finds all others in use, and
	// takes the memory of the state it holds and of its calls. Under Limits.Memory they take at most half of what the
	// program leaves, and go when a call that writes needs it. With the tag caudal_native there are none: all calls run
	// beside each other on the same memory.
	Readers int
	// Logger gets what a session has to say, such as where it fell back to another device; nil is [slog.Default].
	Logger *slog.Logger
}

func (o *Options) value() Options {
	if o == nil {
		return Options{}
	}
	return *o
}

func (o Options) readers() int {
	switch {
	case o.Readers > 0:
		return o.Readers
	case o.Readers < 0:
		return 0
	}
	return runtime.GOMAXPROCS(0)
}

// sharedLimits are the engine's limits of a program and the session that is made of it.
type sharedLimits struct {
	*handle
	value Limits
}

// limits makes the engine's limits; nil for none.
func (f *frame) limits(limits Limits) (*sharedLimits, error) {
	if limits == (Limits{}) {
		return nil, nil
	}
	if limits.Duration < 0 {
		return nil, refuse(CodeArgument, "Limits", "", "a limit is 0 or more, not memory=%d, seconds=%v",
			limits.Memory, limits.Duration.Seconds())
	}
	at, err := f.newLimits(limits.Memory, limits.Duration.Seconds())
	if err != nil {
		return nil, err
	}
	return &sharedLimits{f.space.own(at, engine.LimitsFree), limits}, nil
}

// newLimits makes the engine's limits, which the caller frees.
func (f *frame) newLimits(memory uint64, seconds float64) (engine.Pointer, error) {
	if f.word == 4 {
		memory = min(memory, math.MaxUint32)
	}
	return f.out(engine.LimitsNew, memory, float(seconds))
}

// address gives the address for a call; 0 for none.
func (l *sharedLimits) address() uint64 {
	if l == nil {
		return 0
	}
	return uint64(l.at)
}
