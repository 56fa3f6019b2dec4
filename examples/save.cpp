/* SPDX-License-Identifier: Apache-2.0 */
/* The C++ wrapper, writing: a copy of a file without one tensor, with another. save FILE. */
#include <safetensors/safetensors.hpp>

#include <iostream>

int main(int argc, char **argv)
{
    if (argc != 2) {
        std::cerr << "usage: save FILE\n";
        return 2;
    }
    try {
        const std::string path = argv[1];
        safetensors::file old(path);
        safetensors::writer writer;
        std::vector<st_copy> copies;
        for (const st_tensor &tensor : old)
            if (safetensors::name(tensor) == "weight")
                copies.push_back({writer.add(tensor), &tensor, nullptr});
        std::size_t bias = writer.add("bias", ST_I16, {3});
        writer.add_metadata("format", "pt");

        /* The file that is being read stays as it is until the new one takes its place. */
        safetensors::sink sink(path);
        const std::int16_t values[] = {-1, 0, 1};
        writer.begin(sink);
        writer.copy_from(old, copies);
        writer.write(bias, values, sizeof values);
        writer.finish();

        safetensors::file made(path);
        for (const st_tensor &tensor : made)
            std::cout << safetensors::name(tensor) << ' ' << st_dtype_code(tensor.dtype) << '\n';
        std::cout << "format: " << made.metadata("format") << '\n';
        writer.write(bias, values, sizeof values);
    } catch (const safetensors::error &error) {
        std::cout << st_status_name(error.status()) << '\n';
    } catch (const std::exception &error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
    return 0;
}
