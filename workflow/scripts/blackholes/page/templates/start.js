// Once all functions are there.

if (document.getElementById("tables")) startTables();
if (document.getElementById("explorer")) startExplorer();
