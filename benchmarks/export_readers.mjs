// Sends an export to a server of its own with immich's client: node export_readers.mjs FOLDER-OF-THE-CLIENT FOLDER
import { createServer } from 'node:http';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [client, folder] = process.argv.slice(2);
const found = createRequire(`${client}/package.json`).resolve('@immich/sdk');
const { init, updateAssets, resolveDuplicates } = await import(pathToFileURL(found));
const seen = { assets: 0, groups: 0, trash: 0 };
const server = createServer((request, response) => {
  let text = '';
  request.on('data', (part) => (text += part));
  request.on('end', () => {
    const body = JSON.parse(text);
    if (request.method === 'PUT') seen.assets += body.ids.length;
    for (const group of body.groups ?? []) {
      seen.groups += 1;
      seen.trash += group.trashAssetIds.length;
    }
    response.writeHead(request.method === 'PUT' ? 204 : 200, { 'Content-Type': 'application/json' });
    response.end(request.method === 'PUT' ? undefined : '[]');
  });
}).listen(0, '127.0.0.1');
await new Promise((ready) => server.once('listening', ready));
init({ baseUrl: `http://127.0.0.1:${server.address().port}/api`, apiKey: 'key' });
const lines = (name) => readFileSync(`${folder}/${name}`, 'utf8').split('\n').filter(Boolean).map((line) => JSON.parse(line));
for (const assetBulkUpdateDto of lines('immich')) await updateAssets({ assetBulkUpdateDto });
for (const duplicateResolveDto of lines('immich-resolve.jsonl')) await resolveDuplicates({ duplicateResolveDto });
console.log(`${seen.assets} assets got a duplicate id, ${seen.groups} groups resolved, ${seen.trash} assets to the trash`);
server.close();
process.exit(0);
