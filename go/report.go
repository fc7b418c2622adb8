package caudal

import (
	"encoding/json"
	"runtime"
	"time"

	"github.com/caudal-project/caudal/go/internal/engine"
)

// A Report is what a session did.
type Report struct {
	// Device is the device that it runs on.
	Device string
	// Placement gives the device of each function.
	Placement map[string]string
	// Memory is what the limits count: the limit (0 if there is none), and the bytes in use now and at most.
	Memory struct{ Limit, Used, Peak uint64 }
	// Readers are the copies of state for calls that run at the same time: how many there are and may be, and the bytes
	// that each may hold, which Memory.Limit includes; 0 if there is no limit.
	Readers struct {
		Made, Most int
		Memory     uint64
	}
	// Preparation says of each function that was made ready what that took.
	Preparation map[string]Preparation
	// Notes are what else there is to say.
	Notes []string
}

// A Preparation is what making a function ready took, which its first calls wait for.
type Preparation struct {
	// Time is that of passes and plan, and of each new set of sizes: on a GPU, that of compiling shaders.
	Time time.Duration
	// Sizes is how many sets of sizes it was made ready for, Pipelines how many shaders were compiled for it on a GPU.
	Sizes, Pipelines int
}

// Report gives what the session did.
//
// Errors: ErrClosed.
func (s *Session) Report() (*Report, error) {
	if err := s.begin(); err != nil {
		return nil, err
	}
	defer s.end()
	report, err := s.report()
	if r := s.readers; err == nil && r != nil {
		r.lock.Lock()
		report.Readers.Made, report.Readers.Most, report.Readers.Memory = r.made, r.most, r.memory
		r.lock.Unlock()
	}
	return report, err
}

func (s *Session) report() (*Report, error) {
	f, err := s.live.space.enter()
	if err != nil {
		return nil, err
	}
	text, err := f.bytes(engine.SessionReport, uint64(s.live.handle.at))
	f.leave()
	runtime.KeepAlive(s.live.handle)
	if err != nil {
		return nil, err
	}
	var found struct {
		Device      string
		Placement   map[string]string
		Memory      struct{ Limit, Used, Peak count }
		Preparation map[string]struct {
			Seconds          float64
			Sizes, Pipelines count
		}
		Notes []string
	}
	if err := json.Unmarshal(text, &found); err != nil {
		return nil, internal("the report is no JSON: " + err.Error())
	}
	report := &Report{Device: found.Device, Placement: found.Placement, Notes: found.Notes}
	report.Memory.Limit, report.Memory.Used = uint64(found.Memory.Limit), uint64(found.Memory.Used)
	report.Memory.Peak = uint64(found.Memory.Peak)
	report.Preparation = make(map[string]Preparation, len(found.Preparation))
	for name, entry := range found.Preparation {
		taken := time.Duration(entry.Seconds * float64(time.Second))
		report.Preparation[name] = Preparation{Time: taken, Sizes: int(entry.Sizes), Pipelines: int(entry.Pipelines)}
	}
	return report, nil
}

// Device gives the device that the session runs on.
func (s *Session) Device() (string, error) {
	report, err := s.Report()
	if err != nil {
		return "", err
	}
	return report.Device, nil
}

// A Placement says where a function runs.
type Placement struct {
	// Device is the session's.
	Device string
	// Steps are what it does on a GPU, at the sizes of its last call.
	Steps []Step
}

// A Step is one of a function on a GPU.
type Step struct {
	Op string
	// Device is the one that runs it, and Why the reason if that is not the session's.
	Device, Why string
	// File and Line are where the user's code made it, if that is known.
	File string
	Line int
}

// Placement says where each function runs.
//
// Errors: ErrClosed.
func (s *Session) Placement() (map[string]Placement, error) {
	if err := s.begin(); err != nil {
		return nil, err
	}
	defer s.end()
	report, err := s.report()
	if err != nil {
		return nil, err
	}
	f, err := s.live.space.enter()
	if err != nil {
		return nil, err
	}
	text, err := f.bytes(engine.SessionPlacement, uint64(s.live.handle.at))
	f.leave()
	runtime.KeepAlive(s.live.handle)
	if err != nil {
		return nil, err
	}
	var found map[string]json.RawMessage
	if err := json.Unmarshal(text, &found); err != nil {
		return nil, internal("the placement is no JSON: " + err.Error())
	}
	placements := make(map[string]Placement, len(found))
	for name, steps := range found {
		placement := Placement{Device: report.Device}
		// On the CPU it is that name.
		if steps[0] == '[' {
			if err := json.Unmarshal(steps, &placement.Steps); err != nil {
				return nil, internal("the placement is no JSON: " + err.Error())
			}
		}
		placements[name] = placement
	}
	return placements, nil
}

// Explain gives the graph that a call of a function runs, as text: what was fused is one node, named fused. A comment
// after it, or after a node that could be in one, says which node ends it and why: "# ends at %5: dot_general begins its cluster".
//
// Errors: ErrName if there is no such function; ErrClosed.
func (s *Session) Explain(name string) (string, error) {
	if err := s.begin(); err != nil {
		return "", err
	}
	defer s.end()
	function, err := s.function(name)
	if err != nil {
		return "", err
	}
	f, err := s.live.space.enter()
	if err != nil {
		return "", err
	}
	defer runtime.KeepAlive(s.live.handle)
	defer f.leave()
	text, err := f.bytes(engine.FunctionExplain, uint64(s.live.functions[function.index]))
	return string(text), err
}

// Memory gives how many bytes a call of a function takes, beside its inputs and the state, at some sizes: of each symbol
// in its inputs, such as batch.
//
// Errors: ErrName if there is no such function, ErrArgument for a size that is missing or a symbol that it has not.
func (s *Session) Memory(name string, dims map[string]int) (uint64, error) {
	if err := s.begin(); err != nil {
		return 0, err
	}
	defer s.end()
	function, err := s.function(name)
	if err != nil {
		return 0, err
	}
	if dims == nil {
		dims = map[string]int{}
	}
	sizes, err := json.Marshal(dims)
	if err != nil {
		return 0, err
	}
	f, err := s.live.space.enter()
	if err != nil {
		return 0, err
	}
	defer runtime.KeepAlive(s.live.handle)
	defer f.leave()
	at, n := f.string(string(sizes))
	text, err := f.bytes(engine.FunctionPlan, uint64(s.live.functions[function.index]), at, n)
	if err != nil {
		return 0, err
	}
	var plan struct{ Memory count }
	if err := json.Unmarshal(text, &plan); err != nil {
		return 0, internal("the plan is no JSON: " + err.Error())
	}
	return uint64(plan.Memory), nil
}

// Devices gives the devices that sessions can run on.
func Devices() ([]string, error) {
	var found []struct{ Name string }
	err := ask(engine.Devices, &found)
	names := make([]string, len(found))
	for i, device := range found {
		names[i] = device.Name
	}
	return names, err
}

// Version gives the version of caudal.
func Version() (string, error) {
	var found struct{ Version string }
	err := ask(engine.Info, &found)
	return found.Version, err
}

// ask reads what the library says of itself.
func ask(about engine.Function, found any) error {
	s, err := processSpace()
	if err != nil {
		return err
	}
	f, err := s.enter()
	if err != nil {
		return err
	}
	defer f.leave()
	text, err := f.bytes(about)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, found)
}
