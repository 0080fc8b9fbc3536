// What parse.mjs calls where CLOUD_CODE is set.
Parse.Cloud.define("double", ({ params }) => params.number * 2);
Parse.Cloud.define("whoAmI", ({ user }) => user ? user.id : null);
Parse.Cloud.define("count", async () => new Parse.Query("Note").count({ useMasterKey: true }));
Parse.Cloud.beforeSave("Note", ({ object }) => { if (object.get("title") === "forbidden") throw new Parse.Error(142, "no such title"); });
