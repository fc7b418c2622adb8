package caudal_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	caudal "github.com/caudal-project/caudal/go"
	"github.com/caudal-project/caudal/go/ops"
)

var background = context.Background()

func run(t testing.TB, s *caudal.Session, name string, x float32) caudal.Tensors {
	t.Helper()
	out, err := s.Run(background, name, caudal.Tensors{"x": scalar(x)})
	check(t, err)
	return out
}

func TestGoroutinesSeeTheStateOfTheLastStepThatReturned(t *testing.T) {
	s := session(t, counting(t, 1000), &caudal.Options{Readers: 3})
	var steps atomic.Int64
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for steps.Load() < 100 {
				least := float32(steps.Load())
				data := floats(t, run(t, s, "predict", 0)["output"])
				if data[0] < least || data[0] != data[999] {
					t.Errorf("after %v steps the state is %v and %v", least, data[0], data[999])
				}
			}
		})
	}
	for range 100 {
		run(t, s, "train_step", 1)
		steps.Add(1)
	}
	group.Wait()
	report, err := s.Report()
	check(t, err)
	if engineName == "go-pure" && (report.Readers.Made > 3 || report.Readers.Most != 3) {
		t.Errorf("there are %+v", report.Readers)
	}
	if p := report.Preparation["train_step"]; p.Sizes != 1 || p.Pipelines != 0 || p.Time <= 0 {
		t.Errorf("it took %+v", p)
	}
}

func TestAContextEndsALongCallAndTheStateStays(t *testing.T) {
	s := session(t, counting(t, 4), nil)
	run(t, s, "train_step", 1)
	for _, name := range []string{"endless", "wait"} {
		ctx, cancel := context.WithCancelCause(background)
		why := errors.New("why")
		time.AfterFunc(50*time.Millisecond, func() { cancel(why) })
		_, err := s.Run(ctx, name, caudal.Tensors{"x": scalar(1)})
		expect(t, err, caudal.ErrCancelled, name+": the call was cancelled")
		if !errors.Is(err, context.Canceled) || !errors.Is(err, why) {
			t.Errorf("%v matches neither", err)
		}
		ctx, stop := context.WithTimeout(background, 30*time.Millisecond)
		_, err = s.Run(ctx, name, caudal.Tensors{"x": scalar(1)})
		stop()
		expect(t, err, context.DeadlineExceeded, name+": the call took longer than its limit in seconds")
	}
	if sum := floats(t, run(t, s, "train_step", 0)["sum"])[0]; sum != 4 {
		t.Errorf("the state has become %v", sum)
	}
}

func TestCallsGoBesideALongOne(t *testing.T) {
	s := session(t, counting(t, 4), nil)
	ctx, cancel := context.WithCancel(background)
	var group sync.WaitGroup
	group.Go(func() {
		_, err := s.Run(ctx, "endless", caudal.Tensors{"x": scalar(1)})
		if !errors.Is(err, caudal.ErrCancelled) {
			t.Errorf("it ended with %v", err)
		}
	})
	time.Sleep(20 * time.Millisecond)
	run(t, s, "predict", 1)
	report, err := s.Report()
	check(t, err)
	if engineName == "go-pure" && report.Readers.Made != 1 {
		t.Errorf("there are %+v", report.Readers)
	}
	_, err = s.State("w")
	check(t, err)
	late, stop := context.WithTimeout(background, 20*time.Millisecond)
	defer stop()
	_, err = s.Run(late, "train_step", caudal.Tensors{"x": scalar(1)})
	expect(t, err, caudal.ErrDeadline, "train_step: the call took longer than its limit in seconds")
	cancel()
	group.Wait()
	run(t, s, "train_step", 1)
}

func TestCloseWaitsForCallsAndRefusesLaterOnes(t *testing.T) {
	s, err := counting(t, 4).Session(nil)
	check(t, err)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for {
				_, err := s.Run(background, "train_step", caudal.Tensors{"x": scalar(1)})
				if errors.Is(err, caudal.ErrClosed) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	time.Sleep(10 * time.Millisecond)
	check(t, s.Close())
	group.Wait()
	check(t, s.Close())
	_, err = s.Snapshot()
	expect(t, err, caudal.ErrClosed, "the session is closed")
	_, err = s.State("w")
	expect(t, err, caudal.ErrClosed, "the session is closed")
	expect(t, s.SetState(nil), caudal.ErrClosed, "the session is closed")
	_, err = s.Report()
	expect(t, err, caudal.ErrClosed, "the session is closed")
	_, err = s.Memory("predict", nil)
	expect(t, err, caudal.ErrClosed, "the session is closed")
}

func TestExplainSaysWhatIsFusedAndWhatEndsIt(t *testing.T) {
	g := caudal.NewGraph()
	x, w := g.Input("x", caudal.MustSpec("float32[n, 4]")), g.Input("w", caudal.MustSpec("float32[4, 2]"))
	g.Function("predict", caudal.Outputs{"output": ops.Softmax(x, nil)})
	g.Function("score", caudal.Outputs{"output": ops.MatMul(ops.Softmax(x, nil), w)})
	p, err := g.Program(nil)
	check(t, err)
	s := session(t, p, nil)
	predict, err := s.Explain("predict")
	check(t, err)
	score, err := s.Explain("score")
	check(t, err)
	const why = "  # ends at %3: dot_general begins its cluster\n"
	if strings.Count(predict, " = fused(") != 1 || strings.Contains(predict, "#") || !strings.Contains(score, why) {
		t.Errorf("predict is %v\nscore is %v", predict, score)
	}
	_, err = s.Explain("other")
	expect(t, err, caudal.ErrName, "no function is named 'other'; there are: predict, score")
}

func TestSnapshotsSaveUndoAndClone(t *testing.T) {
	s := session(t, counting(t, 4), nil)
	run(t, s, "train_step", 1)
	before, err := s.Snapshot()
	check(t, err)
	check(t, s.SetState(caudal.Tensors{"w": caudal.MustTensor([]float32{5, 6, 7, 8}, 4)}))
	if data := floats(t, run(t, s, "predict", 0)["output"]); data[3] != 8 {
		t.Errorf("the state is %v", data)
	}
	clone := session(t, before, nil)
	check(t, s.Restore(before))
	for _, each := range []*caudal.Session{s, clone} {
		if data := floats(t, run(t, each, "predict", 0)["output"]); data[3] != 1 {
			t.Errorf("the state is %v", data)
		}
	}
	run(t, clone, "train_step", 9)
	snapshot, err := clone.Snapshot()
	check(t, err)
	check(t, s.RestoreStrict(snapshot))
	if data := floats(t, run(t, s, "predict", 0)["output"]); data[3] != 10 {
		t.Errorf("the state is %v", data)
	}
	var file bytes.Buffer
	check(t, s.Save(&file))
	p, err := caudal.Read(&file, nil)
	check(t, err)
	if w, err := p.State("w"); err != nil || floats(t, w)[0] != 10 {
		t.Errorf("the file has %v, %v", w, err)
	}
}

// busy has eight goroutines predict so many times each while one trains as often.
func busy(t *testing.T, s *caudal.Session, times int) {
	t.Helper()
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range times {
				run(t, s, "predict", 0)
			}
		})
	}
	for range times {
		run(t, s, "train_step", 1)
	}
	group.Wait()
}

func TestReadersStayWithinTheLimitOfMemory(t *testing.T) {
	const limit = 48 << 20
	s := session(t, counting(t, 1<<20), &caudal.Options{Limits: caudal.Limits{Memory: limit}, Readers: 8})
	busy(t, s, 3)
	report, err := s.Report()
	check(t, err)
	readers := uint64(report.Readers.Made) * report.Readers.Memory
	if report.Memory.Limit != limit || report.Memory.Used+readers > limit {
		t.Errorf("the memory is %+v, that of readers %+v", report.Memory, report.Readers)
	}
}

// The first reader is made, and the memory parted, while other calls are about to enter the writer.
func TestTheFirstReadersOfASessionStandInNobodysWay(t *testing.T) {
	for range 20 {
		s := session(t, counting(t, 1000), &caudal.Options{Limits: caudal.Limits{Memory: 64 << 20}, Readers: 4})
		busy(t, s, 5)
		check(t, s.Close())
	}
}

func TestSavingReplacesTheWholeFileOrNothing(t *testing.T) {
	s := session(t, counting(t, 4), nil)
	folder := t.TempDir()
	path, link := filepath.Join(folder, "file.caudal"), filepath.Join(folder, "link.caudal")
	check(t, os.WriteFile(path, []byte("old"), 0o640))
	check(t, os.Symlink("file.caudal", link))
	check(t, s.SaveFile(link))
	about, err := os.Stat(path)
	check(t, err)
	if about.Mode().Perm() != 0o640 {
		t.Errorf("the permissions are %v", about.Mode())
	}
	for _, each := range []string{path, link} {
		loaded, err := caudal.Load(each, nil)
		check(t, err)
		check(t, loaded.Close())
	}
	fromFS, err := caudal.OpenFS(os.DirFS(folder), "file.caudal", nil)
	check(t, err)
	if labels := fromFS.Metadata().(map[string]any)["labels"].([]any); labels[1] != "b" {
		t.Errorf("the metadata has %v", labels)
	}
	err = s.SaveFile(filepath.Join(folder, "none", "file.caudal"))
	if !errors.Is(err, caudal.ErrIO) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("saving where there is no folder is %v", err)
	}
	entries, err := os.ReadDir(folder)
	check(t, err)
	if len(entries) != 2 {
		t.Errorf("there are %v", entries)
	}
}

func TestOpeningSaysWhichFile(t *testing.T) {
	folder := t.TempDir()
	_, err := caudal.Open(filepath.Join(folder, "none"), nil)
	expect(t, err, os.ErrNotExist, "cannot open "+filepath.Join(folder, "none")+": No such file or directory (os error 2)")
	_, err = caudal.Open(folder, nil)
	expect(t, err, caudal.ErrIO, "cannot open "+folder+": it is not a regular file")
}

func TestMemoryIsFlatOverManySteps(t *testing.T) {
	s := session(t, counting(t, 10000), nil)
	step := func(count int) uint64 {
		for range count {
			run(t, s, "train_step", 1)
		}
		runtime.GC()
		report, err := s.Report()
		check(t, err)
		return caudal.SpaceSize(s) + report.Memory.Used
	}
	before := step(100)
	if after := step(1000); after != before {
		t.Errorf("the memory has grown from %d to %d bytes", before, after)
	}
}

func TestCollectionDuringCallsDoesNoHarm(t *testing.T) {
	stop := make(chan struct{})
	var group, collector sync.WaitGroup
	collector.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				runtime.GC()
			}
		}
	})
	for range 4 {
		group.Go(func() {
			for range 10 {
				s, err := counting(t, 64).Session(nil)
				if err != nil {
					t.Error(err)
					return
				}
				for range 5 {
					run(t, s, "train_step", 1)
				}
				before, err := s.Snapshot()
				if err != nil {
					t.Error(err)
					return
				}
				run(t, s, "train_step", 1)
				if err := s.Restore(before); err != nil {
					t.Error(err)
				}
				if data := floats(t, run(t, s, "predict", 0)["output"]); data[63] != 5 {
					t.Errorf("the state is %v", data[63])
				}
			}
		})
	}
	group.Wait()
	close(stop)
	collector.Wait()
}
