package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	caudal "github.com/caudal-project/caudal/go"
)

const bag = `{"pixels": [1, 0, 0, 0.5], "label": "bag"}`

func TestPredictionsGoOnWhileFeedbackIsLearnedAndWhatIsLearnedIsSaved(t *testing.T) {
	file := saved(t, classifier(t))
	s, address, stop := start(t, settings(t, file, "--batch", "4", "--wait", "1ms", "--every", "1h"))
	var before predicted
	ask(t, "POST", address+"/predict", `{"pixels": [1, 0, 0, 0.5]}`, &before)
	if p := before.Predictions; len(p) != 1 || p[0].Probabilities[0] != p[0].Probabilities[2] {
		t.Fatalf("it predicts %v before it has learned", before)
	}
	var learning atomic.Bool
	var group sync.WaitGroup
	learning.Store(true)
	for range 8 {
		group.Go(func() {
			for learning.Load() {
				var now predicted
				status, text := ask(t, "POST", address+"/predict", `{"pixels": [[1, 0, 0, 0.5], [0, 1, 1, 0]]}`, &now)
				if status != http.StatusOK || len(now.Predictions) != 2 {
					t.Errorf("/predict: %d %s", status, text)
					return
				}
				for _, each := range now.Predictions {
					sum := 0.0
					for _, probability := range each.Probabilities {
						sum += float64(probability)
					}
					if math.Abs(sum-1) > 1e-5 || each.Label != labels[each.Class] {
						t.Errorf("/predict: %s", text)
					}
				}
			}
		})
	}
	const examples = 200
	for range examples / 2 {
		for _, body := range []string{bag, `{"pixels": [[0, 1, 1, 0]], "label": 1}`} {
			if status, text := ask(t, "POST", address+"/feedback", body, nil); status != http.StatusAccepted {
				t.Errorf("/feedback: %d %s", status, text)
			}
		}
	}
	now := waitFor(t, address, func(now about) bool { return now.Learned.Examples == examples })
	learning.Store(false)
	group.Wait()
	// All classes alike have a loss of log 3.
	if l := now.Learned; l.Steps < examples/4 || l.Lost != 0 || l.Queued != 0 || *l.Loss > 0.5 {
		t.Errorf("it learned %+v with a loss of %v", l, *l.Loss)
	}
	var after predicted
	ask(t, "POST", address+"/predict", `{"pixels": [[1, 0, 0, 0.5], [0, 1, 1, 0]]}`, &after)
	if p := after.Predictions; p[0].Label != "bag" || p[1].Label != "shoe" || p[0].Probabilities[2] < 0.7 {
		t.Errorf("it predicts %+v after it has learned", p)
	}
	if r := now.Readers; r.Made > r.Most || (r.Made > 0) != (r.Memory > 0) {
		t.Errorf("it has the readers %+v", r)
	}
	if m := now.Memory; m.Limit != 512<<20 || m.Used == 0 || m.Peak < m.Used {
		t.Errorf("it takes the memory %+v", m)
	}
	snapshot, err := s.model.session.Snapshot()
	check(t, err)
	check(t, stop())
	sameState(t, file, snapshot, int64(now.Learned.Steps))
}

// sameState checks that a file opens with the state of a program, whose optimizer has made so many steps.
func sameState(t *testing.T, file string, p *caudal.Program, steps int64) {
	t.Helper()
	want, err := p.Session(nil)
	check(t, err)
	defer want.Close()
	got, err := caudal.Load(file, nil)
	check(t, err)
	defer got.Close()
	if len(got.Program().States()) != len(p.States()) {
		t.Fatalf("the file has %v", got.Program().States())
	}
	for _, state := range p.States() {
		a, err := got.State(state.Name)
		check(t, err)
		b, err := want.State(state.Name)
		check(t, err)
		if fmt.Sprint(elements(t, a)) != fmt.Sprint(elements(t, b)) {
			t.Errorf("%s is %v in the file, and was %v", state.Name, elements(t, a), elements(t, b))
		}
		if state.Name == "optimizer/step" && elements(t, a)[0] != float64(steps) {
			t.Errorf("the file has %v steps, expected %d", elements(t, a), steps)
		}
	}
}

// elements gives numbers, each exactly.
func elements(t *testing.T, x *caudal.Tensor) []float64 {
	t.Helper()
	var numbers []float64
	if data, err := caudal.Data[float32](x); err == nil {
		for _, each := range data {
			numbers = append(numbers, float64(each))
		}
		return numbers
	}
	data, err := caudal.Data[int64](x)
	check(t, err)
	for _, each := range data {
		numbers = append(numbers, float64(each))
	}
	return numbers
}

func TestItSavesInAnIntervalWhatItLearned(t *testing.T) {
	file := saved(t, classifier(t))
	copied := file + ".new"
	_, address, _ := start(t, settings(t, file, "--save", copied, "--every", "5ms", "--wait", "0s"))
	if now := waitFor(t, address, func(about) bool { return true }); now.Saved.At != nil {
		t.Errorf("it saved at %v what it did not learn", now.Saved.At)
	}
	for i := range uint64(3) {
		ask(t, "POST", address+"/feedback", bag, nil)
		waitFor(t, address, func(now about) bool { return now.Saved.Steps == i+1 && now.Saved.At != nil })
		s, err := caudal.Load(copied, nil)
		check(t, err)
		step, err := s.State("optimizer/step")
		check(t, err)
		if steps := elements(t, step)[0]; steps != float64(i+1) {
			t.Errorf("the file has %v steps after %d", steps, i+1)
		}
		check(t, s.Close())
	}
	if entries, err := os.ReadDir(strings.TrimSuffix(file, "a.caudal")); err != nil || len(entries) != 2 {
		t.Errorf("the folder has %v, %v", entries, err)
	}
}

func TestStoppingAnswersTheRequestThatItHasAndLearnsWhatItTook(t *testing.T) {
	file := saved(t, classifier(t))
	// The first example would wait for an hour for the others of its batch.
	s, address, stop := start(t, settings(t, file, "--wait", "1h", "--every", "1h"))
	ask(t, "POST", address+"/feedback", bag, nil)
	connection, err := net.Dial("tcp", strings.TrimPrefix(address, "http://"))
	check(t, err)
	defer connection.Close()
	fmt.Fprintf(connection, "POST /feedback HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(bag), bag[:10])
	waitFor(t, address, func(now about) bool { return now.Learned.Queued == 0 })
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	for !s.stopping.Load() {
		time.Sleep(time.Millisecond)
	}
	_, err = io.WriteString(connection, bag[10:])
	check(t, err)
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	check(t, err)
	if response.StatusCode != http.StatusAccepted {
		t.Errorf("the request was answered with %s", response.Status)
	}
	check(t, <-stopped)
	if l := s.learner.learned(); l.Examples != 2 || l.Lost != 0 {
		t.Errorf("it learned %+v", l)
	}
	again, err := caudal.Load(file, nil)
	check(t, err)
	defer again.Close()
	if bias, err := again.State("bias"); err != nil || elements(t, bias)[2] <= 0 {
		t.Errorf("the bias of the class is %v, %v", elements(t, bias), err)
	}
	if _, err := s.learner.offer(example{}); !errors.Is(err, errStopping) {
		t.Errorf("it takes feedback: %v", err)
	}
	if _, err := s.model.predict(t.Context(), pixels{{0, 0, 0, 0}}); !errors.Is(err, caudal.ErrClosed) {
		t.Errorf("the session gives %v", err)
	}
}

func TestAStepThatFailsIsCountedAndTheNextOneIsMade(t *testing.T) {
	s, address, _ := start(t, settings(t, saved(t, classifier(t)), "--wait", "0s"))
	if _, err := s.learner.offer(example{image: []float32{1}}); err != nil {
		t.Fatal(err)
	}
	ask(t, "POST", address+"/feedback", bag, nil)
	now := waitFor(t, address, func(now about) bool { return now.Learned.Examples+now.Learned.Lost == 2 })
	if now.Learned.Lost != 1 || now.Learned.Steps != 1 {
		t.Errorf("it learned %+v", now.Learned)
	}
}

func TestInfoSaysWhatIsServed(t *testing.T) {
	file := saved(t, classifier(t))
	_, address, _ := start(t, settings(t, file))
	now := waitFor(t, address, func(about) bool { return true })
	var names []string
	for _, each := range now.Functions {
		names = append(names, each.Name)
		if each.Name == "train_step" && (!each.Trains || each.Inputs["y"] != "int32[batch]" || each.Outputs["loss"] != "float32[]") {
			t.Errorf("train_step is %+v", each)
		}
	}
	slices.Sort(names)
	if fmt.Sprint(names) != "[apply gradients predict train_step]" || now.File != file || now.Device != "cpu" {
		t.Errorf("it serves %v of %s on %s", names, now.File, now.Device)
	}
	if got := fmt.Sprint(now.Metadata); got != fmt.Sprint(map[string]any{"labels": labels}) {
		t.Errorf("metadata is %s", got)
	}
	if status, text := ask(t, "GET", address+"/healthz", "", nil); status != http.StatusOK || text != `{"status":"ok"}` {
		t.Errorf("/healthz: %d %s", status, text)
	}
}
