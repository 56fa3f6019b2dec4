/* SPDX-License-Identifier: Apache-2.0 */
/* Splits a file into shards, merges them again, and puts two models together, in C++: shards FILE. */
#include <safetensors/safetensors.hpp>

#include <iostream>

int main(int argc, char **argv)
{
    if (argc != 2) {
        std::cerr << "usage: shards FILE\n";
        return 2;
    }
    try {
        const std::string path = argv[1], folder = path + ".parts";
        st_split_options options{};
        options.shard_count = 2;
        safetensors::checkpoint(path).split(folder, &options);

        safetensors::checkpoint parts(folder);
        for (std::size_t i = 0; i < parts.size(); i++)
            std::cout << safetensors::name(*parts[i].tensor) << " in "
                      << st_checkpoint_file_name(parts.get(), parts[i].file_index) << '\n';
        std::cout << parts.read(parts.at("weight")).size() << " bytes of weight\n";

        safetensors::checkpoint::recovery_look(folder, [](const st_checkpoint_recovery &left) {
            std::cout << left.path << ": an edit was interrupted\n";
            return true;
        });
        safetensors::checkpoint_edit edit(parts);
        const st_checkpoint_tensor steps = parts.at("steps");
        if (st_edit_rename(edit[steps.file_index], steps.tensor, "step", 4, nullptr) == ST_OK)
            std::cout << edit.write((path + ".renamed").c_str()).renamed << " renamed\n";
        safetensors::checkpoint renamed(path + ".renamed");
        std::cout << safetensors::name(*renamed[0].tensor) << " in "
                  << st_checkpoint_file_name(renamed.get(), renamed[0].file_index) << '\n';

        safetensors::sink whole(path + ".whole");
        parts.merge(whole.get());
        std::cout << safetensors::file(path + ".whole").size() << " tensors in one file\n";

        st_cat_input inputs[2]{};
        inputs[0].checkpoint = parts.get();
        inputs[1].checkpoint = renamed.get();
        inputs[1].prefix = "old.";
        inputs[1].prefix_len = 4;
        safetensors::sink both(path + ".both");
        safetensors::checkpoint::cat({inputs[0], inputs[1]}, both.get());
        std::cout << safetensors::file(path + ".both").size() << " of two\n";
        parts.at("bias");
    } catch (const std::out_of_range &none) {
        std::cout << "no tensor of that name\n";
    } catch (const safetensors::error &failure) {
        std::cerr << failure.what() << '\n';
        return 1;
    }
}
