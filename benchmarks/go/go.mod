module github.com/caudal-project/caudal/benchmarks/go

go 1.26

require (
	github.com/gomlx/gomlx v0.26.0 // indirect
	github.com/yalue/onnxruntime_go v1.27.0 // indirect
)
