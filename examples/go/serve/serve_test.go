package main

import (
	"context"
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	caudal "github.com/caudal-project/caudal/go"
	"github.com/caudal-project/caudal/go/ops"
)

// classifier saves a linear classifier of garments that knows nothing yet.
func classifier(t *testing.T) string {
	t.Helper()
	g := caudal.NewGraph()
	x, y := g.Input("x", caudal.MustSpec("float32[batch, 28, 28, 1]")), g.Input("y", caudal.MustSpec("int32[batch]"))
	w := g.State("kernel", caudal.MustTensor(make([]float32, pixels*3), pixels, 3))
	logits := ops.MatMul(ops.Reshape(x, &ops.ReshapeAttrs{Shape: caudal.Dims("batch", pixels)}), w)
	loss := ops.Mean(ops.SoftmaxCrossEntropy(logits, y))
	g.Function("predict", caudal.Outputs{"output": ops.Softmax(logits)})
	g.Function("train_step", caudal.Outputs{"loss": loss}).Minimize(loss, []caudal.Value{w}, caudal.SGD{LearningRate: 0.1})
	p, err := g.Program(map[string]any{"labels": []string{"shirt", "shoe", "bag"}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "garments.caudal")
	if err := p.SaveFile(path); err != nil {
		t.Fatal(err)
	}
	return path
}

// post gives the status and the answer of a request.
func post(t *testing.T, url, body string) (int, map[string]any) {
	t.Helper()
	response, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return 0, nil
	}
	defer response.Body.Close()
	var answer map[string]any
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		t.Errorf("%s answers no JSON: %v", url, err)
	}
	return response.StatusCode, answer
}

func body(t *testing.T, label int) string {
	t.Helper()
	image := make([]float32, pixels)
	for i := range image {
		image[i] = float32((i+label)%3) / 2
	}
	text, err := json.Marshal(map[string]any{"image": image, "label": label})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestTheServicePredictsLearnsSavesAndEnds(t *testing.T) {
	file := classifier(t)
	ctx, stop := context.WithCancel(context.Background())
	addresses, ended := make(chan string, 1), make(chan error, 1)
	set := settings{file: file, address: "localhost:0", batch: 4, every: 20 * time.Millisecond, limit: 10 * time.Second}
	go func() { ended <- run(ctx, set, func(address string) { addresses <- address }) }()
	var url string
	select {
	case address := <-addresses:
		url = "http://" + address
	case err := <-ended:
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for worker := range 8 {
		group.Go(func() {
			for range 10 {
				if status, answer := post(t, url+"/predict", body(t, worker%3)); status != 200 {
					t.Errorf("predict answers %d %v", status, answer)
				}
				if status, answer := post(t, url+"/feedback", body(t, worker%3)); status != 200 || answer["learned"] != true {
					t.Errorf("feedback answers %d %v", status, answer)
				}
			}
		})
	}
	group.Wait()
	if _, answer := post(t, url+"/predict", body(t, 1)); answer["label"] != "shoe" {
		t.Errorf("it has learned %v", answer)
	}
	for request, expected := range map[string]int{
		"{": 400, `{"image": [1, 2]}`: 400, `{"image": "x"}`: 400, `{"picture": []}`: 400,
		strings.Replace(body(t, 9), "0.5", "7", 1): 400, strings.Repeat(" ", mostBytes+1): 413,
	} {
		if status, answer := post(t, url+"/predict", request); status != expected || answer["error"] == nil {
			t.Errorf("%.20s is answered by %d %v, expected %d", request, status, answer, expected)
		}
	}
	if status, answer := post(t, url+"/feedback", body(t, 7)); status != 400 {
		t.Errorf("a label of 7 is answered by %d %v", status, answer)
	}
	if response, err := http.Get(url + "/healthz"); err != nil || response.StatusCode != 200 {
		t.Errorf("health is %v, %v", response, err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	s, err := caudal.Load(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	step, err := s.State("optimizer/step")
	if err != nil {
		t.Fatal(err)
	}
	if steps, err := caudal.Scalar[int64](step); err != nil || steps < 20 {
		t.Errorf("the file was trained %d steps, %v", steps, err)
	}
}
