// What the agent's state is, again and again.
export function follow({ status, connection }) {
  const ask = async () => {
    try {
      const answer = await fetch("/api/v1/status", { cache: "no-store" });
      if (!answer.ok) throw new Error(answer.statusText);
      status(await answer.json());
      connection("polling");
    } catch {
      connection("lost");
    }
    setTimeout(ask, 1000);
  };
  ask();
}
