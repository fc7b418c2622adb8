package caudal

import (
	"context"
	"runtime"
	"sync"

	"github.com/caudal-project/caudal/go/internal/engine"
)

// opCache keeps the ops of a space by name and attrs: making one parses its attrs.
type opCache struct {
	lock sync.Mutex
	ops  map[opKey]*handle
}

type opKey struct {
	space       *space
	name, attrs string
}

const mostOps = 1024

var opsMade opCache

// op gives an op of the frame's space.
func (f *frame) op(name string, attrs any) (*handle, error) {
	text, err := encodeAttrs(name, attrs)
	if err != nil {
		return nil, err
	}
	key := opKey{f.space, name, text}
	opsMade.lock.Lock()
	found := opsMade.ops[key]
	opsMade.lock.Unlock()
	if found != nil {
		return found, nil
	}
	nameAt, n := f.string(name)
	attrsAt, m := f.string(text)
	at, err := f.out(engine.OpNew, nameAt, n, attrsAt, m)
	if err != nil {
		return nil, err
	}
	made := f.space.own(at, engine.OpFree)
	opsMade.lock.Lock()
	defer opsMade.lock.Unlock()
	if opsMade.ops == nil || len(opsMade.ops) >= mostOps {
		opsMade.ops = map[opKey]*handle{}
	}
	opsMade.ops[key] = made
	return made, nil
}

// Eager runs an op on tensors at once; gives its outputs. Attrs are nil, [Attrs] or what package ops has for the op; a
// nil input is an optional one left out. A nil ctx is never done.
//
// Errors: ErrName if there is no such op, ErrArgument for an attr, and what the op refuses.
func Eager(ctx context.Context, op string, attrs any, inputs ...*Tensor) ([]*Tensor, error) {
	if ctx == nil {
		ctx = context.Background()
	}
	if ctx.Err() != nil {
		return nil, ended(op, ctx)
	}
	s, err := processSpace()
	if err != nil {
		return nil, err
	}
	f, err := s.enter()
	if err != nil {
		return nil, err
	}
	defer f.leave()
	made, err := f.op(op, attrs)
	if err != nil {
		return nil, err
	}
	defer runtime.KeepAlive(made)
	tensors := make([]uint64, len(inputs))
	defer func() {
		for _, at := range tensors {
			f.free(engine.TensorFree, engine.Pointer(at))
		}
	}()
	for i, input := range inputs {
		if input == nil {
			continue
		}
		at, err := f.tensor(input)
		if err != nil {
			return nil, err
		}
		tensors[i] = uint64(at)
	}
	const most = 256
	outputs, count := f.words(most, nil), f.slot()
	f.watch(ctx)
	err = f.call(engine.Eager, uint64(made.at), f.words(len(tensors), tensors), uint64(len(tensors)), 0, outputs, most, count)
	if err != nil {
		if ctx.Err() != nil {
			err = ended(op, ctx)
		}
		return nil, err
	}
	return f.takeAll(outputs, int(f.load(count)))
}
