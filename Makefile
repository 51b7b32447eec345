# The commands of CONTRIBUTING.md under short names. Nothing needs make.
.PHONY: all build test race short master powercut bench example demo ci

all: build test

build:
	CGO_ENABLED=0 go build -trimpath -o edgegw ./cmd/edgegw

test:
	go test ./...

short:
	go test -short ./...

race:
	go test -race ./...

master:
	go test ./gateway -run TestMaster -v

powercut:
	go run ./powercut -mutants

bench:
	go test ./gateway -run '^$$' -bench . -benchtime 5x -timeout 60m

example:
	docs/example.sh

demo:
	go run ./cmd/edgegw demo

ci:
	.ci/run
