// Prometheus' metrics of the server. Labels are few: a path is known by its first part, and only where Parse has such a route.
import client from "prom-client";

const ROUTES = new Set([
  "aggregate", "batch", "classes", "cloud_code", "config", "files", "functions", "graphql", "health", "hooks", "installations", "jobs", "login",
  "loginAs", "logout", "purge", "push", "requestPasswordReset", "roles", "schemas", "security", "sessions", "upgradeToRevocableSession", "users",
  "verificationEmailRequest", "verifyPassword",
]);

export const register = new client.Registry();
client.collectDefaultMetrics({ register });
const measure = { registers: [register], labelNames: ["route", "class"] };
const requests = new client.Counter({ name: "parse_requests_total", help: "Requests by route and class of status (2xx ...)", ...measure });
const seconds = new client.Histogram({
  name: "parse_request_duration_seconds", help: "Time to a whole answer", ...measure, buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
});
export const lost = new client.Counter({ name: "parse_livequery_gaps_total", help: "Times that clients were told to connect anew", registers: [register] });
export const rejections = new client.Counter({ name: "parse_unhandled_rejections_total", help: "Promises that failed unheard", registers: [register] });

export const gauge = (name, help, value) => new client.Gauge({ name, help, registers: [register], collect() { this.set(value()); } });

export function measured(mountPath, inFlight) {
  return (request, response, next) => {
    const stop = seconds.startTimer();
    const first = request.path.slice(mountPath.length + 1).split("/", 1)[0];
    inFlight.add(response);
    response.once("close", () => {
      inFlight.delete(response);
      const labels = { route: ROUTES.has(first) ? first : "other", class: response.writableFinished ? `${Math.floor(response.statusCode / 100)}xx` : "aborted" };
      requests.inc(labels);
      stop(labels);
    });
    next();
  };
}
