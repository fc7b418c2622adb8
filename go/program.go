package caudal

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync/atomic"

	"github.com/caudal-project/caudal/go/internal/engine"
)

// A Named is the name and spec of an input or output.
type Named struct {
	Name string
	Spec Spec
}

// A Function is what a program says of one of its functions.
type Function struct {
	// Name is its name, Doc its documentation.
	Name, Doc string
	// Inputs and Outputs stand in their order.
	Inputs, Outputs []Named
	// Reads and Writes name the state that it reads and writes.
	Reads, Writes []string
	// Symbols are the dims that the inputs' specs leave open.
	Symbols []string
	// Ops is how often each op stands in it.
	Ops map[string]int
}

// String gives its name, inputs and outputs.
func (f *Function) String() string {
	side := func(side []Named) string {
		texts := make([]string, len(side))
		for i, each := range side {
			texts[i] = each.Name + ": " + each.Spec.String()
		}
		return strings.Join(texts, ", ")
	}
	return fmt.Sprintf("%s(%s) -> (%s)", f.Name, side(f.Inputs), side(f.Outputs))
}

// A Role says what state is for.
type Role string

// The roles of state.
const (
	Parameter      Role = "parameter"
	OptimizerState Role = "optimizer"
	Statistic      Role = "statistic"
	RandomState    Role = "random"
	OtherState     Role = "other"
)

// State is what a program says of one of its named tensors that functions read and write.
type State struct {
	Name string
	Role Role
	Spec Spec
	// Bytes is how many bytes it takes.
	Bytes uint64
}

// A Program is functions, state and metadata: what a file holds. It never changes; a session runs it. All methods may
// be called from many goroutines.
type Program struct {
	handle *handle
	info   *programInfo
	// limits are what it was read under, with what it holds counted; nil if there were none.
	limits *sharedLimits
	// claimed tells whether a session lives in the program's space, or others share it.
	claimed *atomic.Bool
}

type programInfo struct {
	functions []Function
	states    []State
	metadata  json.RawMessage
}

func (s *space) program(f *frame, at engine.Pointer, info *programInfo, shared bool) (*Program, error) {
	p := &Program{handle: s.own(at, engine.ProgramFree), info: info, claimed: new(atomic.Bool)}
	p.claimed.Store(shared)
	if info == nil {
		text, err := f.bytes(engine.ProgramInfo, uint64(at), 1)
		if err != nil {
			return nil, err
		}
		if p.info, err = parseInfo(text); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// count is a number in the core's JSON, which is text where 53 bits do not hold it.
type count uint64

func (c *count) UnmarshalJSON(text []byte) error {
	return json.Unmarshal([]byte(strings.Trim(string(text), `"`)), (*uint64)(c))
}

func parseInfo(text []byte) (*programInfo, error) {
	type named []struct{ Name, Spec string }
	var all struct {
		Functions []struct {
			Name, Doc              string
			Inputs, Outputs        named
			Reads, Writes, Symbols []string
			Ops                    map[string]count
		}
		State []struct {
			Name, Role, Spec string
			Bytes            count
		}
		Metadata json.RawMessage
	}
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, internal("what the program holds is no JSON: " + err.Error())
	}
	info := &programInfo{metadata: all.Metadata}
	var failed error
	parse := func(text string) Spec {
		spec, err := ParseSpec(text)
		if err != nil {
			failed = err
		}
		return spec
	}
	side := func(entries named) []Named {
		var all []Named
		for _, entry := range entries {
			all = append(all, Named{entry.Name, parse(entry.Spec)})
		}
		return all
	}
	for _, each := range all.Functions {
		ops := make(map[string]int, len(each.Ops))
		for name, n := range each.Ops {
			ops[name] = int(n)
		}
		info.functions = append(info.functions, Function{
			each.Name, each.Doc, side(each.Inputs), side(each.Outputs), each.Reads, each.Writes, each.Symbols, ops,
		})
	}
	for _, each := range all.State {
		info.states = append(info.states, State{each.Name, Role(each.Role), parse(each.Spec), uint64(each.Bytes)})
	}
	return info, failed
}

// Functions gives what the program says of its functions.
func (p *Program) Functions() []Function { return append([]Function(nil), p.info.functions...) }

// Function gives what the program says of a function.
//
// Errors: ErrName if there is none of that name.
func (p *Program) Function(name string) (*Function, error) {
	for i := range p.info.functions {
		if p.info.functions[i].Name == name {
			function := p.info.functions[i]
			return &function, nil
		}
	}
	return nil, p.info.noFunction(name)
}

func (i *programInfo) noFunction(name string) error {
	var names []string
	for _, each := range i.functions {
		names = append(names, each.Name)
	}
	return unknown("function", name, names)
}

func (i *programInfo) noState(name string) error {
	var names []string
	for _, each := range i.states {
		names = append(names, each.Name)
	}
	return unknown("state", name, names)
}

func unknown(what, name string, known []string) error {
	list := strings.Join(known, ", ")
	if list == "" {
		list = "none"
	}
	return refuse(CodeName, "", "", "no %s is named %s; there are: %s", what, quote(name), list)
}

// States gives what the program says of its state.
func (p *Program) States() []State { return append([]State(nil), p.info.states...) }

// State gives the value of state.
//
// Errors: ErrName if there is none of that name.
func (p *Program) State(name string) (*Tensor, error) {
	f, err := p.handle.space.enterToRead()
	if err != nil {
		return nil, err
	}
	defer runtime.KeepAlive(p.handle)
	defer f.leave()
	if p.info.state(name) < 0 {
		return nil, p.info.noState(name)
	}
	text, n := f.string(name)
	at, err := f.out(engine.ProgramState, uint64(p.handle.at), text, n)
	if err != nil {
		return nil, err
	}
	return f.take(at)
}

// state gives the index of state, -1 if there is none of that name.
func (i *programInfo) state(name string) int {
	for index := range i.states {
		if i.states[index].Name == name {
			return index
		}
	}
	return -1
}

// Metadata gives what the author says (labels, licence, how to prepare inputs), as [json.Unmarshal] gives it to an any;
// nil if nothing.
func (p *Program) Metadata() any {
	var value any
	// The core wrote it: it is JSON.
	_ = json.Unmarshal(p.info.metadata, &value)
	return value
}

// Info gives what the program holds, as text for people.
func (p *Program) Info() (string, error) {
	f, err := p.handle.space.enter()
	if err != nil {
		return "", err
	}
	defer runtime.KeepAlive(p.handle)
	defer f.leave()
	text, err := f.bytes(engine.ProgramInfo, uint64(p.handle.at), 2)
	return string(text), err
}

// Select gives the program with only these functions, and the state that they use.
//
// Errors: ErrName if there is no such function.
func (p *Program) Select(functions ...string) (*Program, error) {
	return p.derived(engine.ProgramSelect, func(f *frame) []uint64 {
		return []uint64{f.names(functions), uint64(len(functions))}
	})
}

// WithoutLines gives the program without the source lines that errors name.
func (p *Program) WithoutLines() (*Program, error) {
	return p.derived(engine.ProgramWithoutLines, func(*frame) []uint64 { return nil })
}

func (p *Program) derived(function engine.Function, arguments func(f *frame) []uint64) (*Program, error) {
	f, err := p.handle.space.enter()
	if err != nil {
		return nil, err
	}
	defer runtime.KeepAlive(p.handle)
	defer f.leave()
	at, err := f.out(function, append([]uint64{uint64(p.handle.at)}, arguments(f)...)...)
	if err != nil {
		return nil, err
	}
	return p.handle.space.program(f, at, nil, true)
}

// savedPiece is how many bytes of a file are written at once.
const savedPiece = 1 << 20

// An image is the bytes of a program's file in its space.
type image struct {
	space *space
	at    engine.Pointer
	data  engine.Pointer
	size  int
}

func (p *Program) image() (*image, error) {
	s := p.handle.space
	f, err := s.enterToRead()
	if err != nil {
		return nil, err
	}
	defer runtime.KeepAlive(p.handle)
	defer f.leave()
	at, size, err := f.held(engine.ProgramWrite, uint64(p.handle.at))
	if err != nil {
		return nil, err
	}
	return &image{s, at, f.load(uint64(at)), size}, nil
}

func (i *image) free() { i.space.bury(engine.BytesFree, i.at) }

// each gives the bytes piece by piece. Nobody waits for the space meanwhile: the writer may take its time, and may even
// call the program.
func (i *image) each(write func(piece []byte) error) error {
	piece := make([]byte, min(i.size, savedPiece))
	for done := 0; done < i.size; done += len(piece) {
		piece = piece[:min(len(piece), i.size-done)]
		f, err := i.space.enterToRead()
		if err != nil {
			return err
		}
		copy(piece, f.engine.View(i.data+engine.Pointer(done), len(piece)))
		f.leave()
		if err := write(piece); err != nil {
			return err
		}
	}
	return nil
}

// Save writes the file.
//
// Errors: what w gives; ErrArgument if it is nil.
func (p *Program) Save(w io.Writer) error {
	if w == nil {
		return refuse(CodeArgument, "save", "w", "the writer is nil")
	}
	image, err := p.image()
	if err != nil {
		return err
	}
	defer image.free()
	return image.each(func(piece []byte) error {
		_, err := w.Write(piece)
		return err
	})
}

// copyTo gives the same program in another space, read under limits there.
func (p *Program) copyTo(s *space, limits Limits) (*Program, error) {
	image, err := p.image()
	if err != nil {
		return nil, err
	}
	defer image.free()
	return s.receive(image.size, theData, limits, p.info, func(fill func([]byte) error) error {
		return image.each(fill)
	})
}
