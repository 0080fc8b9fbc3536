// What Prometheus is told (its text format 0.0.4).

export class Metrics {
  #answers = new Map<string, number>();
  #seconds = new Map<string, [number, number]>();
  #workers = new Map<string, number>();

  answered(name: string, status: number, seconds: number) {
    if (status === 404) name = "";  // anybody may ask for any name
    const key = `function="${name}",code="${status}"`;
    this.#answers.set(key, (this.#answers.get(key) ?? 0) + 1);
    const [count, sum] = this.#seconds.get(name) ?? [0, 0];
    this.#seconds.set(name, [count + 1, sum + seconds]);
  }

  ended(name: string, why: string) {
    const key = `function="${name}",why="${why}"`;
    this.#workers.set(key, (this.#workers.get(key) ?? 0) + 1);
  }

  text(running: number): string {
    const lines = ["# TYPE functions_requests_total counter"];
    for (const [labels, count] of this.#answers) lines.push(`functions_requests_total{${labels}} ${count}`);
    lines.push("# TYPE functions_request_seconds summary");
    for (const [name, [count, sum]] of this.#seconds) {
      lines.push(`functions_request_seconds_count{function="${name}"} ${count}`, `functions_request_seconds_sum{function="${name}"} ${sum.toFixed(6)}`);
    }
    lines.push("# TYPE functions_workers_ended_total counter");
    for (const [labels, count] of this.#workers) lines.push(`functions_workers_ended_total{${labels}} ${count}`);
    lines.push("# TYPE functions_running gauge", `functions_running ${running}`, "");
    return lines.join("\n");
  }
}
