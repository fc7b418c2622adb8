module github.com/caudal-project/caudal/benchmarks/go

go 1.26

require (
	github.com/caudal-project/caudal/go v0.0.0
	github.com/gomlx/gomlx v0.26.0
	github.com/yalue/onnxruntime_go v1.27.0
)

replace github.com/caudal-project/caudal/go => ../../go
