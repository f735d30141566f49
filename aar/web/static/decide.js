// The operator's decisions about a submission: each is one request with the token typed in, which is kept nowhere.
(() => {
  for (const form of document.querySelectorAll("form.decide")) {
    const said = form.querySelector("output");
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const given = new FormData(form);
      const action = event.submitter.value;
      const sent = { by: given.get("by"), reason: given.get("reason") };
      if (action === "disqualification") sent.rule = given.get("rule");
      said.textContent = "asking …";
      try {
        const answer = await fetch(form.dataset.post + action, {
          method: "POST",
          headers: { "Content-Type": "application/json", Authorization: `Bearer ${given.get("token")}` },
          body: JSON.stringify(sent),
        });
        const told = await answer.json();
        if (!answer.ok) {
          const fields = (told.errors ?? []).map((each) => `${each.where}: ${each.message}`);
          said.textContent = [told.detail, ...fields, told.remedy].filter(Boolean).join(". ");
        } else {
          said.textContent = told.heard || action !== "confirmation" ? "Done." : "Noted; it waits until the campaign goes on.";
        }
      } catch {
        said.textContent = "The server does not answer.";
      }
    });
  }
})();
