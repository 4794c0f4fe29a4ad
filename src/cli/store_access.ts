/**
 * How commands reach a store: opened, to change it, or looked at from outside, whoever has it open.
 */

import { loadCrc32c } from "../bytes/crc32c.ts";
import { isOttlaError } from "../errors.ts";
import { diskFileSystem } from "../platform/disk_file_system.ts";
import type { FileSystem } from "../platform/file_system.ts";
import { joinPath } from "../platform/files.ts";
import { pathOf } from "../platform/path.ts";
import { loadCodec } from "../record/compression.ts";
import { metaPropertiesName, parseMetaProperties } from "../store/meta_properties.ts";
import type { MetadataImage } from "../store/metadata_image.ts";
import { readMetadata } from "../store/metadata_reader.ts";
import { closeStore, openStore } from "../store/open_store.ts";
import type { Store } from "../store/store.ts";
import { kindOfFolder, notAStore, readMetaFile } from "../store/store_files.ts";
import { metadataTopic, partitionFolderName } from "../store/topic_name.ts";

/**
 * Opens a store, does something with it, and closes it again whatever happens.
 *
 * @param folder Its folder.
 * @param create Whether a folder that does not exist or is empty becomes a store.
 * @param change What to do.
 * @returns What `change` returned.
 */
export async function changeStore<T>(
  folder: string,
  create: boolean,
  change: (store: Store) => Promise<T>,
): Promise<T> {
  const store = await openStore(folder, { create });
  try {
    return await change(store);
  } finally {
    await closeStore(store);
  }
}

/** A store that is only looked at. */
export interface StoreView {
  readonly fs: FileSystem;
  readonly folder: string;
  readonly nodeId: number;
  readonly image: MetadataImage;
}

/**
 * Looks at a store without opening it.
 *
 * @param path Its folder.
 * @returns Resolves with what its metadata says, when its batches can be decoded.
 * @throws OttlaError `STORE_INVALID` if the folder is no store.
 */
export async function viewStore(path: string): Promise<StoreView> {
  await loadDecoders();
  const fs = diskFileSystem();
  const folder = pathOf(path);
  const status = fs.stat(folder);
  if (status === undefined) throw notAStore(folder, "there is no such folder");
  if (!status.isFolder) throw notAStore(folder, "it is a file");
  const metaFile = kindOfFolder(fs, folder) === "store" ? readMetaFile(fs, folder) : undefined;
  if (metaFile === undefined) throw notAStore(folder, "it has no meta.properties");
  const { nodeId = 0 } = parseMetaProperties(metaFile, joinPath(folder, metaPropertiesName));
  const metadataFolder = joinPath(folder, partitionFolderName(metadataTopic, 0));
  const { image } = readMetadata(fs, metadataFolder, 0);
  return { fs, folder, nodeId, image };
}

/**
 * Makes ready what decoding needs. A codec that is missing is an error of the batch that needs it.
 *
 * @returns Resolves when batches can be decoded.
 */
export async function loadDecoders(): Promise<void> {
  await loadCrc32c();
  try {
    await loadCodec("zstd");
  } catch (error) {
    if (!isOttlaError(error, "CODEC_MISSING")) throw error;
  }
}
